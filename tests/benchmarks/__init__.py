"""Programs that measure: speeds and sizes beside what they must beat, never as tests."""
