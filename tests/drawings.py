"""Pictures and charts drawn again and again, which must give the same bytes."""

import random

from nomosaurus.report.pictures import save_picture


def bytes_of(figures: dict, folder) -> dict[str, bytes]:
    for name, figure in figures.items():
        save_picture(figure, folder / name)
    return {name: (folder / name).read_bytes() for name in figures}


def draw_again(draw, folder, times: int) -> None:
    """Draw pictures again and again, with other objects at other addresses in between."""
    shuffled = random.Random(1)
    first, garbage = bytes_of(draw(), folder), []
    for _ in range(times - 1):
        garbage = [[None] * shuffled.randint(0, 60) for _ in range(shuffled.randint(1, 20_000))]
        shuffled.shuffle(garbage)
        del garbage[::2]
        assert bytes_of(draw(), folder) == first
