"""The Streamlit dashboard over recorded runs. It reads run folders and nothing else (docs/dashboard.md)."""
