"""Faces blurred in pictures: found by the cascades that OpenCV ships (Viola and Jones, CVPR 2001).

CityGuessr (section 3) found faces by RetinaFace and looked through the pictures by hand. RetinaFace needs weights that
have to be downloaded; the cascades lie in OpenCV's wheels up to version 4 (Apache-2.0; the cascades under Intel's BSD
licence) and need nothing. They miss more: faces below some 24 pixels, turned far aside, covered or in the dark. And
in every other street picture of 1024 x 768 they take something else for a face (of 480 pixels: in every ninth). A look
through the pictures is needed either way.
"""

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import MissingModelError
from vgeo.video.pixels import Pixels

# Cascade, hits in the neighbourhood that it needs, and whether it is to look at the mirrored picture, too. On 54
# street pictures the newer frontal cascade (alt2) errs a third as often as the default one, and on 100 photographs of
# faces, 25 pixels wide and enlarged, it finds as many.
_CASCADES = (
    ("haarcascade_frontalface_alt2.xml", 3, False),
    ("haarcascade_profileface.xml", 4, True),
)
_STEP = 1.1  # from one size of face to the next
_ENLARGED = 1.3  # the box ends at brows and chin: hair and ears belong to a face
_CELLS = 6  # what is left of a box: so many colours a side, some 5 for the face itself

DETECTOR = f"OpenCV Haar cascades frontalface_alt2 and profileface, box x {_ENLARGED}, {_CELLS} x {_CELLS} colours left"


class FaceBlur:
    """Blurs the faces that it finds. Raises MissingModelError where OpenCV, or its cascades, are not installed."""

    def __init__(self) -> None:
        try:
            self._cv: Any = import_module("cv2")
        except ImportError as error:
            raise MissingModelError("--blur-faces needs OpenCV: pip install 'vgeo[faces]'") from error
        if not hasattr(self._cv, "CascadeClassifier"):
            raise MissingModelError(
                f"--blur-faces: OpenCV {self._cv.__version__} has no face cascades any more; "
                "pip install 'opencv-python-headless<5'"
            )
        self._cascades = [
            (self._cv.CascadeClassifier(self._cv.data.haarcascades + name), hits, mirrored)
            for name, hits, mirrored in _CASCADES
        ]
        if any(cascade.empty() for cascade, _, _ in self._cascades):
            raise MissingModelError("--blur-faces: OpenCV's cascades are not installed; pip install 'vgeo[faces]'")

    def __call__(self, image: Pixels) -> tuple[Pixels, int]:
        """The picture [H, W, 3] with its faces blurred, and how many; the one given stays as it is."""
        boxes = self._find(image)
        if not len(boxes):
            return image, 0
        blurred = image.copy()
        for box in boxes:
            self._blur(blurred, box)
        return blurred, _distinct(boxes)

    def _find(self, image: Pixels) -> NDArray[np.int64]:
        """Boxes [K, 4] of faces: left, top, width, height."""
        grey = self._cv.cvtColor(image, self._cv.COLOR_RGB2GRAY)
        found = []
        for cascade, hits, mirrored in self._cascades:
            found += [tuple(box) for box in cascade.detectMultiScale(grey, _STEP, hits)]
            if mirrored:
                flipped = cascade.detectMultiScale(np.ascontiguousarray(grey[:, ::-1]), _STEP, hits)
                found += [(grey.shape[1] - x - w, y, w, h) for x, y, w, h in flipped]
        return np.array(found, np.int64).reshape(-1, 4)

    def _blur(self, image: Pixels, box: NDArray[np.int64]) -> None:
        """Leave `_CELLS` x `_CELLS` mean colours of the enlarged box, in place: no face comes back from that."""
        left, top, width, height = box
        right, bottom = (round(start + size * (1 + _ENLARGED) / 2) for start, size in ((left, width), (top, height)))
        left, top = (
            max(0, round(start - size * (_ENLARGED - 1) / 2)) for start, size in ((left, width), (top, height))
        )
        part = image[top:bottom, left:right]
        few = self._cv.resize(part, (_CELLS, _CELLS), interpolation=self._cv.INTER_AREA)
        part[:] = self._cv.resize(few, part.shape[1::-1], interpolation=self._cv.INTER_LINEAR)


def _distinct(boxes: NDArray[np.int64]) -> int:
    """How many faces there are in boxes of which several may be of one: those whose middle lies in none before."""
    kept: list[NDArray[np.int64]] = []
    for box in boxes:
        x, y = box[:2] + box[2:] / 2
        if not any(left <= x < left + w and top <= y < top + h for left, top, w, h in kept):
            kept.append(box)
    return len(kept)
