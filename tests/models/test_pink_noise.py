import numpy as np

from models import pink_noise


def test_images_have_the_shape_and_the_seed() -> None:
    images = pink_noise.generate(3, 20, 31, seed=1)

    assert images.shape == (3, 20, 31, 3)
    assert images.dtype == np.uint8
    assert np.array_equal(images, pink_noise.generate(3, 20, 31, seed=1))
    assert not np.array_equal(images, pink_noise.generate(3, 20, 31, seed=2))


def test_the_amplitude_falls_as_one_over_the_frequency() -> None:
    """A line fitted to log amplitude over log frequency has a slope near -1; white noise has 0."""
    images = pink_noise.generate(24, 96, 96, seed=3).astype(float).mean(axis=3)
    amplitude = np.abs(np.fft.fft2(images - images.mean(axis=(1, 2), keepdims=True))).mean(axis=0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(96), np.fft.fftfreq(96)))
    band = (frequency > 0.03) & (frequency < 0.3)

    slope = np.polyfit(np.log(frequency[band]), np.log(amplitude[band]), 1)[0]

    assert abs(slope + 1) < 0.2


def test_the_images_use_the_range_of_a_photograph() -> None:
    images = pink_noise.generate(16, 64, 64, seed=4)

    assert 80 < images.mean() < 175
    assert 35 < images.std() < 70
