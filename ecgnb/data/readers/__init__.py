"""One file a format; `ecgnb.data.reading.read_recording` chooses among them."""
