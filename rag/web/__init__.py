"""The web: search engines, and pages fetched with care and read as documents."""
