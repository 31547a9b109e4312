"""ecgkin: retrieval-augmented ECG case search.

Nothing is imported here eagerly. Start from `ecgkin.retrieval.CaseSearch` (search), `ecgkin.retrieval.ecg` (records,
pages), `ecgkin.generation.Drafter` (drafts) or `ecgkin.ui.client.Client` (a server's client).
"""

__version__ = "0.2.0"
