"""The Streamlit dashboard over recorded runs. It reads only run folders (docs/dashboard.md)."""
