"""One file a format; `ecgnb.data.readers.reading.read_recording` chooses among them."""
