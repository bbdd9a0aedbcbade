"""Verifies, shows, lists and removes data sets.

- `verify.py`: reads a data set again and lists every difference
- `index_check.py`: whether catalogue, index and tars agree
- `tar_walk.py`: the members and the hash of a tar in one pass
- `show.py`: counts, sizes, histograms
- `contact_sheet.py`: a sheet of frames with their masks drawn
- `listing.py`: the data sets of a lake
- `remove.py`: deletes a data set, or what abandoned builds left
- `references.py`: runs and registered versions that refer to a data set
"""
