import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from farm.recipes.transforms import bias


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 4]))
def test_the_correction_restores_the_mean_output_of_a_layer(seed, groups):
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(8, 4 // groups, 1, 1))
    rounded = np.round(weight * 2) / 2
    inputs = rng.normal(1.0, 1.0, size=(16, 4, 5, 5))

    def convolve(kernel):
        split = inputs.reshape(16, groups, 4 // groups, 25)
        by_group = kernel.reshape(groups, 8 // groups, 4 // groups)
        return np.einsum("goi,ngip->ngop", by_group, split).reshape(16, 8, 25)

    shift = bias.shift(weight, rounded, bias.channel_mean(inputs, 1), groups)
    corrected = convolve(rounded) + shift[None, :, None]
    np.testing.assert_allclose(corrected.mean(axis=(0, 2)), convolve(weight).mean(axis=(0, 2)), atol=1e-9)


def test_channel_mean_takes_negative_axes():
    values = np.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_allclose(bias.channel_mean(values, -1), values.mean(axis=(0, 1)))
