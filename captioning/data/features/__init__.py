"""Image features that are extracted once and kept in files."""
