"""The learned page reader: what each pixel of a page is, where lead names stand, how large a millimetre is."""
