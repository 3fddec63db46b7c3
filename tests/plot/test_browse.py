"""The slider over integrations."""

import builtins

import pytest

from xta import plot
from xta.errors import MissingError
from xta.plot import browse


def test_integrations_slides_through_all(small):
    pytest.importorskip("ipywidgets")
    slider, picture = plot.integrations(small).children
    assert slider.options == tuple(small["integration"].values.tolist())
    first = bytes(picture.value)
    assert first.startswith(b"\x89PNG")
    slider.value = slider.options[-1]
    assert bytes(picture.value).startswith(b"\x89PNG")
    assert bytes(picture.value) != first
    slider.value = slider.options[0]
    assert bytes(picture.value) == first


def test_draw_keeps_the_stretch(small):
    _, norm = browse._draw(small, int(small["integration"][0]), {"vmin": 1.0, "vmax": 7.0})
    assert (norm.vmin, norm.vmax) == (1.0, 7.0)
    _, other = browse._draw(small * 1, int(small["integration"][-1]), {"norm": norm})
    assert other is norm


def test_draw_of_recentered_exposure(small):
    png, _ = browse._draw(small.ta.recenter(size=21), int(small["integration"][0]), {})
    assert png != browse._draw(small, int(small["integration"][0]), {})[0]


def test_integrations_needs_integrations_and_ipywidgets(small, monkeypatch):
    with pytest.raises(MissingError, match="integration"):
        plot.integrations(small.ta.coadd())
    imported = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "ipywidgets":
            raise ImportError(name)
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingError, match="xta\\[notebook\\]"):
        plot.integrations(small)
