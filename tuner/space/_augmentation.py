"""Augmentation strength: one number for the ten augmentation arguments that belong together.

0 is the training guide's weak preset (many images), 0.5 the medium and 1 the strong preset (few images) [guide 23];
values in between are interpolated linearly. Arguments that the guide does not give have ultralytics' default.
"""

from types import MappingProxyType

WEAK = MappingProxyType(
    {
        "hsv_h": 0.01,
        "hsv_s": 0.5,
        "hsv_v": 0.3,
        "degrees": 0.0,
        "translate": 0.1,
        "scale": 0.5,
        "fliplr": 0.5,
        "mosaic": 0.5,
        "mixup": 0.0,
        "copy_paste": 0.0,
    }
)
MEDIUM = MappingProxyType({**WEAK, "hsv_h": 0.015, "hsv_s": 0.7, "hsv_v": 0.4, "mosaic": 1.0})
STRONG = MappingProxyType(
    {
        **MEDIUM,
        "hsv_h": 0.02,
        "hsv_s": 0.9,
        "hsv_v": 0.5,
        "degrees": 10.0,
        "translate": 0.2,
        "scale": 0.9,
        "mixup": 0.15,
        "copy_paste": 0.1,
    }
)


def augmentation_of(strength: float) -> dict[str, float]:
    """Return the augmentation arguments for a strength in 0..1."""
    lower, upper, start = (WEAK, MEDIUM, 0.0) if strength <= 0.5 else (MEDIUM, STRONG, 0.5)
    share = (strength - start) / 0.5
    # Rounded, so that a preset has the guide's values and not 0.8999999999999999.
    return {name: round(lower[name] + (upper[name] - lower[name]) * share, 6) for name in lower}
