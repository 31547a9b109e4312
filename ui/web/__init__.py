"""The web page for people: `app` is what Streamlit runs, `ecgkin web` starts it; it talks to the API alone."""
