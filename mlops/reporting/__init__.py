"""The report: one self-contained page about a version or a run.

- `content.py`: everything the report says, gathered as data
- `page.py`: its HTML, by the template `page.html` with the style sheet `page.css`
- `comparisons.py`: sections beside the champion and the best classical fill
- `figures.py`: curves and dots as SVG
"""
