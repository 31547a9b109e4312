"""A report that a clinician has accepted: what it is, and how it leaves as PDF, DICOM and FHIR."""
