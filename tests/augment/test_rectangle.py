"""Random rectangles: the choice among ten, and the pixels inside."""

import jax.numpy as jnp
import numpy as np

from jaxft.augment import rectangle


def test_the_first_of_ten_that_fits():
    uniform = np.full((20, 3), 0.5)
    uniform[0, 0], uniform[10, 0] = 0.99, 0.999  # almost all, 4 times as wide as high: too wide
    uniform[1, 0], uniform[11, 0] = 0.25, 1.0
    uniform[:10, 1], uniform[10:, 1] = 1.0, 0.0  # none fits
    width, height = rectangle.sides(jnp.asarray(uniform), (0.0, 1.0), 4.0)
    np.testing.assert_allclose(width, [1.0, 0.0, np.sqrt(0.5)], rtol=1e-6)
    np.testing.assert_allclose(height, [0.25, 0.0, np.sqrt(0.5)], rtol=1e-6)


def test_a_pixel_is_inside_where_its_centre_is():
    left, top, width, height = (jnp.asarray([n]) for n in (0.24, 0.6, 0.52, 0.0))
    assert not rectangle.inside(left, top, width, height, 10).any()
    mask = np.asarray(rectangle.inside(left, top, width, jnp.asarray([0.9]), 10))[0]
    expected = np.zeros((10, 10), bool)
    expected[6:, 2:8] = True
    np.testing.assert_array_equal(mask, expected)
