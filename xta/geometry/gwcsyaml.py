"""Read and write the GWCS of a JWST image as YAML, by the few kinds of transforms that such a WCS consists of.

asdf reads and writes these and all others. Before it does, it imports every package that has a format of its own and
reads fifty descriptions of formats, which takes longer than a whole analysis. It also checks what it writes against
schemas, which takes longer than an offset. The functions here return the same objects and the same text for the kinds
listed below. For any other kind they return None, and `xta.geometry.wcstext` uses asdf.

References
----------
The properties of each tag: https://www.asdf-format.org/projects/asdf-transform-schemas and asdf-wcs-schemas.
"""

import io
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from xta.errors import damage, filtered
from xta.geometry.asdfguard import child

if TYPE_CHECKING:
    from astropy.modeling import Model
    from gwcs import WCS

__all__ = ["kinds", "read", "remember", "shared", "write"]

ASDF, GWCS, ICRS = "tag:stsci.edu:asdf/", "tag:stsci.edu:gwcs/", "tag:astropy.org:astropy/coordinates/frames/icrs-"

VERSIONS = {
    "compose": "1.4.0",
    "concatenate": "1.4.0",
    "identity": "1.4.0",
    "shift": "1.4.0",
    "scale": "1.4.0",
    "remap_axes": "1.5.0",
    "affine": "1.5.0",
    "polynomial": "1.3.0",
    "rotate_sequence_3d": "1.2.0",
}
"""Transforms of astropy -> version of the tag that is written. All versions are read: they only add options."""

REMEMBERED = 64
"""Number of steps, and of GWCSs, kept in memory: a GWCS takes 0.5 MB as objects and 20 kB as text."""

shared: "WeakSet[Model]" = WeakSet()
"""Steps of GWCSs that nobody changes any more, so that what is made of them can be kept."""

_known: "dict[Any, Model]" = {}
"""Content of the transform of a step -> the transform. The exposures of a visit share their distortion."""

HEAD = b"#ASDF 1.0.0\n#ASDF_STANDARD 1.6.0\n"


class _Other(ValueError):  # noqa: N818 - not an error: asdf is asked
    """Something occurs that this module does not know."""


def read(node: Any, arrays: Mapping[int, NDArray[Any]]) -> "WCS | None":
    """Build the GWCS of an image from the nodes of its YAML.

    Parameters
    ----------
    node : yaml.Node
        Of the tag ``gwcs/wcs``, checked (`xta.geometry.asdfguard`).
    arrays : mapping
        ``id`` of the node of an array -> its values, where these are in a block.

    Returns
    -------
    gwcs.WCS or None
        None if it contains anything that no JWST image has, or is damaged. Its transforms may be shared with other
        WCSs, so they must not be changed.
    """
    loader = _loader()("")
    loader.arrays = arrays
    try:
        contents = _contents(node, arrays)
        known = {each: _known.get(key) for each, key in contents.items()}
        loader.constructed_objects |= {each: transform for each, transform in known.items() if transform is not None}
        made = loader.construct_document(node)
        if type(made).__name__ != "WCS":
            return None
        for step, key in zip(made.pipeline, contents.values(), strict=False):
            shared.add(remember(_known, key, step.transform))
    except damage():
        return None
    return made


def _contents(wcs: Any, arrays: Mapping[int, NDArray[Any]]) -> dict[Any, Any]:
    """Describe the nodes of the transforms of a WCS by their content; the last step has none.

    The result is empty if two of them are equal or have a node in common: as one object, they would be written once.
    """
    nodes = [child(step, "transform") for step in child(wcs, "steps").value[:-1]]
    seen: dict[int, int] = {}
    try:
        contents = {node: _content(node, arrays, seen, len(seen)) for node in nodes}
    except _Other:
        return {}
    return contents if len(set(contents.values())) == len(nodes) else {}


def _content(node: Any, arrays: Mapping[int, NDArray[Any]], seen: dict[int, int], first: int) -> Any:
    """Describe a node by a value that is equal for equal content.

    `seen` numbers the nodes of the WCS, those of this transform from `first` on. A node that occurs twice is one
    object, and the WCS is written with an alias for it.
    """
    if id(node) in seen:
        _expect(seen[id(node)] >= first)
        return seen[id(node)] - first
    seen[id(node)] = len(seen)
    if id(node) in arrays:
        values = arrays[id(node)]
        return values.dtype.str, values.shape, values.tobytes()
    if node.id == "scalar":
        return node.tag, node.value
    parts = node.value if node.id == "sequence" else [part for pair in node.value for part in pair]
    return node.tag, tuple(_content(part, arrays, seen, first) for part in parts)


def remember(known: dict[Any, Any], key: Any, value: Any) -> Any:
    """Store a value as the newest one, and return it; if there are too many, the oldest are removed."""
    known.pop(key, None)
    for oldest in list(known)[: max(0, len(known) + 1 - REMEMBERED)]:  # other threads may change it meanwhile
        known.pop(oldest, None)
    known[key] = value
    return value


@cache
def _loader() -> Any:
    """Make the loader of safe YAML that knows the tags of a WCS besides."""
    import yaml  # type: ignore[import-untyped]

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        arrays: Mapping[int, NDArray[Any]]

    def constructor(make: Callable[[str, Any], Any]) -> Callable[[Any, str, Any], Any]:
        def construct(loader: Any, suffix: str, node: Any) -> Any:
            known = node.id == "mapping"
            return make(suffix, loader.construct_mapping(node, deep=True) if known else loader.construct_scalar(node))

        return construct

    def array(loader: Any, _suffix: str, node: Any) -> Any:
        if id(node) in loader.arrays:
            return loader.arrays[id(node)]
        inline = {"data": loader.construct_sequence(node, deep=True)} if node.id == "sequence" else None
        inline = inline or loader.construct_mapping(node, deep=True)
        return np.array(inline["data"], inline.get("datatype", "float64"))

    Loader.add_multi_constructor(f"{ASDF}core/ndarray-", array)
    Loader.add_multi_constructor(f"{ASDF}transform/", constructor(_transform))
    Loader.add_multi_constructor(f"{ASDF}unit/unit-", constructor(lambda _, text: _units()[text]))
    Loader.add_multi_constructor(GWCS, constructor(_of_gwcs))
    Loader.add_multi_constructor(ICRS, constructor(_icrs))
    return Loader


@cache
def _units() -> dict[str, Any]:
    from astropy import units

    return {"pixel": units.pixel, "arcsec": units.arcsec, "deg": units.deg}


@cache
def _kinds() -> dict[str, tuple[type, Callable[[Any], Any], Callable[[Any], dict[str, Any]]]]:
    """List the transforms: tag -> class, how it is made of its properties (taken out of a dict), and they of it."""
    from astropy.modeling import mappings, models, polynomial, projections, rotations
    from gwcs import geometry

    def rotation(node: dict[str, Any]) -> Any:
        _expect(node.pop("rotation_type") == "cartesian")
        return rotations.RotationSequence3D(node.pop("angles"), axes_order=node.pop("axes_order"))

    return {
        "shift": (models.Shift, lambda n: models.Shift(n.pop("offset")), lambda m: {"offset": m.offset.value}),
        "scale": (models.Scale, lambda n: models.Scale(n.pop("factor")), lambda m: {"factor": m.factor.value}),
        "identity": (
            mappings.Identity,
            lambda n: mappings.Identity(n.pop("n_dims", 1)),
            lambda m: {"n_dims": m.n_inputs} if m.n_inputs > 1 else {},
        ),
        "remap_axes": (
            mappings.Mapping,
            lambda n: mappings.Mapping(tuple(n.pop("mapping")), n.pop("n_inputs", None)),
            lambda m: {"mapping": list(m.mapping), **_unused_inputs(m)},
        ),
        "affine": (
            projections.AffineTransformation2D,
            lambda n: projections.AffineTransformation2D(n.pop("matrix"), n.pop("translation")),
            lambda m: {"matrix": m.matrix.value, "translation": m.translation.value},
        ),
        "rotate_sequence_3d": (
            rotations.RotationSequence3D,
            rotation,
            lambda m: {"angles": m.angles.value.tolist(), "axes_order": m.axes_order, "rotation_type": "cartesian"},
        ),
        "polynomial": (polynomial.Polynomial2D, _polynomial, _coefficients),
        "polynomial in x": (
            polynomial.Polynomial1D,
            _polynomial,
            lambda m: {"coefficients": m.parameters, "domain": m.domain, "window": m.window},
        ),
        "spherical_to_cartesian": _turn(geometry.SphericalToCartesian, "spherical_to_cartesian"),
        "cartesian_to_spherical": _turn(geometry.CartesianToSpherical, "cartesian_to_spherical"),
    }


@cache
def kinds() -> frozenset[type]:
    """List the models that the WCSs of JWST images consist of."""
    return frozenset(kind for kind, _, _ in _kinds().values())


def _turn(kind: type, name: str) -> Any:
    def described(model: Any) -> dict[str, Any]:
        return {"transform_type": name, "wrap_lon_at": model.wrap_lon_at}

    return kind, lambda node: kind(wrap_lon_at=node.pop("wrap_lon_at")), described


def _unused_inputs(model: Any) -> dict[str, Any]:
    return {"n_inputs": model.n_inputs} if model.n_inputs > max(model.mapping) + 1 else {}


def _expect(condition: bool) -> None:
    if not condition:
        raise _Other


def _polynomial(node: dict[str, Any]) -> Any:
    """Make a polynomial of x, or of x and y: coefficient [i, j] multiplies x ** i * y ** j."""
    from astropy.modeling.polynomial import Polynomial1D, Polynomial2D

    values, names = node.pop("coefficients"), ("domain", "window")
    size = len(values)
    if values.ndim == 1:
        model = Polynomial1D(size - 1, **{name: node.pop(name, None) for name in names})
        model.parameters = values
        return model
    _expect(values.shape == (size, size))
    named = {f"c{i}_{j}": values[i, j] for i in range(size) for j in range(size - i)}
    for name in names:
        named[f"x_{name}"], named[f"y_{name}"] = node.pop(name, (None, None))
    return Polynomial2D(size - 1, **named)


def _coefficients(model: Any) -> dict[str, Any]:
    """Describe a polynomial of x and y; the inverse of `_polynomial`."""
    size = model.degree + 1
    values = np.zeros((size, size))
    for i in range(size):
        values[i, : size - i] = [getattr(model, f"c{i}_{j}").value for j in range(size - i)]
    domain, window = (model.x_domain, model.y_domain), (model.x_window, model.y_window)
    _expect(None not in (*domain, *window))
    return {
        "coefficients": values,
        "domain": [list(each) for each in domain],
        "window": [list(each) for each in window],
    }


def _transform(tag: str, node: Any) -> Any:
    """Make a transform with what all of them have: name, inputs, outputs, bounding box, inverse."""
    from astropy.modeling.bounding_box import ModelBoundingBox

    name = tag.rpartition("-")[0]
    if name == "property/bounding_box":
        return node
    if name in {"compose", "concatenate"}:
        left, right = node.pop("forward")
        model = left | right if name == "compose" else left & right
    else:
        model = _kinds()[name][1](node)
    if "name" in node:
        model.name = node.pop("name")
    model.inputs, model.outputs = (tuple(node.pop(key, getattr(model, key))) for key in ("inputs", "outputs"))
    if "bounding_box" in node:
        box = node.pop("bounding_box")
        intervals = {key: tuple(ends) for key, ends in box.pop("intervals").items()}
        model.bounding_box = ModelBoundingBox(
            intervals, model, ignored=box.pop("ignore", []), order=box.pop("order", "C")
        )
    if "inverse" in node:
        model.inverse = node.pop("inverse")
    _expect(not node)  # constraints, units
    return model


def _of_gwcs(tag: str, node: Any) -> Any:
    """Make what gwcs adds: the WCS, its steps and frames, and its transforms between vectors and angles."""
    import gwcs
    from gwcs.wcs import GwcsBoundingBoxWarning, Step

    name = tag.rpartition("-")[0]
    if name == "spherical_cartesian":
        return _transform(f"{node.pop('transform_type')}-", node)
    if name == "step":
        return Step(node["frame"], node.get("transform"))
    if name in {"frame2d", "celestial_frame"}:
        kind = gwcs.Frame2D if name == "frame2d" else gwcs.CelestialFrame
        return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in node.items()})
    _expect(name == "wcs")
    made = gwcs.WCS(node["steps"], name=node["name"])
    if "pixel_shape" in node:
        made.pixel_shape = node["pixel_shape"]
    with filtered("ignore", GwcsBoundingBoxWarning):
        _ = made.bounding_box  # reverses one in C order, as gwcs does when it is requested later
    return made


def _icrs(_version: str, node: Any) -> Any:
    from astropy.coordinates import ICRS as Frame  # noqa: N811 - the tag has this name here

    _expect(node == {"frame_attributes": {}})
    return Frame()


class _Tagged:
    """A mapping or text with a tag of YAML."""

    def __init__(self, tag: str, value: Any) -> None:
        self.tag, self.value = tag, value


def write(wcs: "WCS") -> str | None:
    """Write a GWCS as an ASDF file without blocks; None if it contains something that no JWST image has."""
    import yaml

    try:
        tree = {"wcs": _wcs(wcs)}
        root = _dumper()(io.BytesIO()).represent_data(_Tagged(f"{ASDF}core/asdf-1.1.0", tree))
    except damage():
        return None
    options = {"explicit_start": True, "explicit_end": True, "version": (1, 1), "tags": {"!": ASDF}}
    body = yaml.serialize(root, Dumper=_dumper(), encoding="utf-8", allow_unicode=True, **options)
    return (HEAD + bytes(body)).decode()


@cache
def _dumper() -> Any:
    import yaml

    class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.default_flow_style = None  # lists of numbers on one line

    def tagged(dumper: Any, data: _Tagged) -> Any:
        if isinstance(data.value, str):
            return dumper.represent_scalar(data.tag, data.value)
        return dumper.represent_mapping(data.tag, data.value)

    Dumper.add_representer(_Tagged, tagged)
    Dumper.add_multi_representer(yaml.Node, lambda _dumper, node: node)  # those of a step are made once
    return Dumper


def _plain(value: Any) -> Any:
    """Make of a value what YAML knows: arrays are tagged, numbers are Python's."""
    if isinstance(value, np.ndarray) and value.ndim:
        parts = {"data": value.tolist(), "datatype": value.dtype.name, "shape": list(value.shape)}
        return _Tagged(f"{ASDF}core/ndarray-1.1.0", parts)
    if isinstance(value, np.ndarray | np.generic):
        return value.item()
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _wcs(wcs: "WCS") -> _Tagged:
    from gwcs.coordinate_frames import EmptyFrame

    _expect(isinstance(wcs.name, str))
    steps: list[_Tagged] = []
    known: dict[int, _Tagged] = {}
    for step in wcs.pipeline:
        frame = step.frame.name if isinstance(step.frame, EmptyFrame) else _frame(step.frame)
        transform = None if step.transform is None else _described(step.transform, known)
        steps.append(_Tagged(f"{GWCS}step-1.3.0", {"frame": frame, "transform": transform}))
    return _Tagged(f"{GWCS}wcs-1.4.0", {"name": wcs.name, "pixel_shape": _plain(wcs.pixel_shape), "steps": steps})


def _frame(frame: Any) -> _Tagged:
    """Describe a frame of two axes."""
    import gwcs
    from astropy.coordinates import ICRS as Frame  # noqa: N811 - the tag has this name here

    _expect(type(frame) in {gwcs.Frame2D, gwcs.CelestialFrame})
    texts = {unit: text for text, unit in _units().items()}
    parts = {name: _plain(getattr(frame, name)) for name in ("axes_names", "axes_order", "axis_physical_types", "name")}
    parts["unit"] = [_Tagged(f"{ASDF}unit/unit-1.0.0", texts[unit]) for unit in frame.unit]
    if type(frame) is gwcs.Frame2D:
        _expect(frame.reference_frame is None)
        return _Tagged(f"{GWCS}frame2d-1.2.0", parts)
    _expect(type(frame.reference_frame) is Frame and not frame.reference_frame.has_data)
    parts["reference_frame"] = _Tagged(f"{ICRS}1.1.0", {"frame_attributes": {}})
    return _Tagged(f"{GWCS}celestial_frame-1.2.0", parts)


def _described(model: Any, known: dict[int, Any]) -> Any:
    """Describe a transform; the inverse of `_transform`. One that occurs twice is written once, with an alias."""
    if id(model) in known:
        return known[id(model)]
    if model in shared:
        return known.setdefault(id(model), _node(model))
    return known.setdefault(id(model), _about(model, known))


@lru_cache(maxsize=REMEMBERED)
def _node(model: "Model") -> Any:
    """Make the nodes of a transform that nobody changes."""
    return _dumper()(io.BytesIO()).represent_data(_about(model, {}))


def _about(model: Any, known: dict[int, Any]) -> _Tagged:
    from astropy.modeling import CompoundModel

    if isinstance(model, CompoundModel):
        name = {"|": "compose", "&": "concatenate"}.get(model.op, "")
        parts: dict[str, Any] = {
            "forward": [_described(each, known) for each in (model.left, model.right)] if name else []
        }
    else:
        _expect(not any(model.fixed.values()) and not any(any(each) for each in model.bounds.values()))
        _expect(not model.input_units_equivalencies)
        _expect(all(getattr(model, each).unit is None for each in model.param_names))
        name, parts = next(
            ((name, about(model)) for name, (kind, _, about) in _kinds().items() if type(model) is kind), ("", {})
        )
    parts = {key: value if key == "forward" else _plain(value) for key, value in parts.items()}
    parts |= {"inputs": list(model.inputs), "outputs": list(model.outputs)}
    if model.name is not None:
        _expect(isinstance(model.name, str))
        parts["name"] = model.name
    if model.has_user_inverse:
        parts["inverse"] = _described(model.inverse, known)
    if (box := _bounding_box(model)) is not None:
        intervals = {key: [_plain(end) for end in each] for key, each in box.named_intervals.items()}
        about_box = {"intervals": intervals, "ignore": list(box.ignored_inputs), "order": box.order}
        parts["bounding_box"] = _Tagged(f"{ASDF}transform/property/bounding_box-1.2.0", about_box)
    turn, name = "transform_type" in parts, name.partition(" ")[0]
    tag = f"{GWCS}spherical_cartesian-1.3.0" if turn else f"{ASDF}transform/{name}-{VERSIONS[name]}"
    return _Tagged(tag, parts)


def _bounding_box(model: Any) -> Any:
    """Read the bounding box that was set; None where none was, or where it was disabled."""
    from astropy.modeling.bounding_box import ModelBoundingBox

    try:
        box = model.bounding_box if model.has_user_bounding_box else None
    except NotImplementedError:
        return None
    _expect(box is None or type(box) is ModelBoundingBox)
    return box
