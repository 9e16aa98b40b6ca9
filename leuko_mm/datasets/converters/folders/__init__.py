"""Convert a user's own images, annotated in any usual form.

``survey`` finds images and annotations (``pairs``), reads them by form (``masks``,
``coco``, ``labelme_qupath``, ``yolo``) and guesses the class map; ``groups`` finds what
no split may divide; ``convert`` writes the dataset.
"""
