"""What arrives by itself: a DICOM receiver and a watched folder, a spool on disk, and who empties it into a base."""
