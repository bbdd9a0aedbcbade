"""STTN (arXiv 2007.10247) on torch alone: readable, exportable, shippable without the rest.

| file | idea |
|---|---|
| `generator.py` | frame encoder, spatial-temporal transformer, frame decoder |
| `attention.py` | multi-scale patch attention over all frames |
| `discriminator.py` | spectrally normed 3-D convolutions, power iteration as a function |
| `official.py` | weights under the names of the official code, to our networks |
| `inpaint.py` | a whole video through the generator: windows, references, blending |
| `given.py` | frames and masks on their way there: checked, filled, holes made smaller |
| `area.py` | rectangles: where the hole is, the part of the frame to work on |
| `memory.py` | what a window needs and what the device has left |

Siblings are imported relatively and nothing else but torch and the standard library is, because a
registered version carries a copy of this folder under a name of its own.
"""
