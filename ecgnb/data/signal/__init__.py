"""Operations on one recording: resampling, filters, leads, quality, the standard
form.
"""
