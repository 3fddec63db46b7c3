"""Make many visits from one, by changing bytes in its files: some milliseconds a visit; and add files to a visit."""

import csv
import re
from pathlib import Path

import numpy as np

from xta import datasets, osslog
from xta.geometry import siaf
from xta.surveys import to_ecsv
from xta.surveys.table import to_table

STEP = 1e-3
"""Each visit has its star this much farther along the rows of the detector than the one before [pixel]."""

PRD, APERTURE = "PRDOPSSOC-063", "NRCA5_TAMASK335R"


ONBOARD = {"centroid": "oss", "corrections": "none"}
"""The star by the event log alone, which is what the visits of a set differ in."""
QUICK = {"offline": True, "estimates": False, "workers": 1, **ONBOARD}
AUTO = {**QUICK, "centroid": "auto"}
LIMIT = 300  # seconds for a process of its own: it must never hang


def base_visit(folder):
    """A NIRCam visit with a small science file: one integration, without the arrays that no survey reads."""
    from astropy.io import fits

    visit = datasets.make_visit(folder, mode="nircam", integrations=1, prd=PRD, ideal=True)
    with fits.open(visit.science[0], memmap=False) as hdus:
        kept = fits.HDUList([hdu.copy() for hdu in hdus if not hdu.name.startswith("VAR_")])
        kept.writeto(visit.science[0], overwrite=True)
    return visit


def clones(visit, folder, numbers, *, apart=True):
    """Write visits, each in a folder of its own or all in one; give their ids."""
    (record,) = osslog.read(visit.oss_log).centroids()
    return [_clone(visit, record, Path(folder) / (f"visit{n}" if apart else ""), n) for n in numbers]


def _clone(visit, record, folder, number):
    """Write a visit of program 10000 + `number`: another day, its star elsewhere; give its id.

    Header cards, the ASDF extension and the log are changed in place. The last digits of the GWCS are others,
    too, so that no visit profits from what was parsed for the one before.
    """
    folder.mkdir(parents=True, exist_ok=True)
    program = f"{10000 + number}"
    changes = {"09990": program, "2024-03-10": str(np.datetime64("2024-03-10") + np.timedelta64(number, "D"))}
    for path in (*visit.ta, *visit.science):
        text = _replaced(path.read_bytes(), changes)
        text, found = re.subn(rb"angles: \[[^\]]*\]", lambda match: _other_digits(match[0], number), text)
        assert found == 1
        (folder / path.name.replace("09990", program)).write_bytes(text)
    log = _replaced(visit.oss_log.read_bytes(), changes | _moved(record, number * STEP))
    (folder / visit.oss_log.name.replace("09990", program)).write_bytes(log)
    return f"{program}001001"


def _replaced(text, changes):
    for old, new in changes.items():
        assert old.encode() in text
        text = text.replace(old.encode(), new.encode())
    return text


def _other_digits(text, number):
    """Change the last digit of three of the angles: by 1e-12 deg at most."""
    digits = iter(f"{number:03d}")
    return re.sub(rb"\d(?=[,\]])", lambda match: next(digits, match[0].decode()).encode(), text)


def _moved(record, step):
    """Lines of the log with the star moved, and the maneuver with it: by the SIAF of the visit."""
    ap = siaf.aperture("NIRCAM", APERTURE, PRD)
    fgs = siaf.aperture("FGS", f"FGS{record.guider}_FULL_OSS", PRD)
    v2, v3 = siaf.convert(ap, record.x_det, record.y_det + step, "det", "tel")
    sam = siaf.convert(fgs, fgs.V2Ref + ap.V2Ref - v2, fgs.V3Ref + ap.V3Ref - v3, "tel", "idl")
    text = "\n".join(record.lines)
    values = {
        r"detector coord .*= (.*)": (record.x_det, record.y_det + step),
        r"target location .*= (.*)": (v2, v3),
        r"TA SAM .*= (.*)": sam,
    }
    changes = {}
    for pattern, (a, b) in values.items():
        old = re.search(pattern, text)
        numbers = f"({a:.9g}, {b:.9g})" if old[1].startswith("(") else f"{a:.9g}, {b:.9g}"
        changes[old[0]] = old[0].removesuffix(old[1]) + numbers
    return changes


def add_spectrum(image, path, *, earlier=False):
    """Write an image of the visit as a spectrum, of another type and without a WCS; give its name."""
    from astropy.io import fits

    with fits.open(image, memmap=False) as hdus:
        del hdus["ASDF"]
        hdus[0].header.update(EXP_TYPE="MIR_LRS-FIXEDSLIT", FILENAME=path.name)
        if earlier:
            hdus[0].header["DATE-BEG"] = str(np.datetime64(hdus[0].header["DATE-BEG"]) - np.timedelta64(1, "h"))
        hdus.writeto(path)
    return path.name


def add_targ_acq(visit):
    """Write the ``_uncal`` of the last acquisition, with the star where it is; give its path."""
    from astropy.io import fits

    paths = [path for path in visit.ta if fits.getval(path, "EXP_TYPE").endswith("_TACQ")]
    path = paths[-1].with_name(paths[-1].name.replace("_cal", "_uncal"))
    star, header = visit.truth.sel(file=paths[-1].name), fits.getheader(paths[-1])
    header["FILENAME"] = path.name
    readout = siaf.readout(header["INSTRUME"], header["APERNAME"], header["SUBARRAY"], header["PRD_VER"])
    x_det, y_det = siaf.pixel_to_det(readout, float(star["star_x"]), float(star["star_y"]))
    card = fits.Header({"TASTATUS": "SUCCESSFUL", "DTCENCOL": float(x_det), "DTCENROW": float(y_det)})
    hdus = [fits.PrimaryHDU(header=header), fits.ImageHDU(name="TARG_ACQ", header=card)]
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path


def add_failed_acquisition(visit):
    """Let the last of three TA exposures of NIRISS be followed by a fourth, whose centroid did not converge."""
    from astropy.io import fits

    fourth = visit.ta[-1].with_name(visit.ta[-1].name.replace("_00003_", "_00004_"))
    with fits.open(visit.ta[-1], memmap=False) as hdus:
        header = hdus[0].header
        header.update({"FILENAME": fourth.name, "EXPOSURE": "4", "DATE-BEG": _later(header["DATE-BEG"])})
        hdus.writeto(fourth)
    with visit.oss_log.open(newline="") as file:
        titles, *rows = csv.reader(file)
    (end,) = (k for k, row in enumerate(rows) if row[2].startswith("TA SAM"))
    begin = max(k for k, row in enumerate(rows[:end]) if "NISTAMAIN" in row[2])
    changes = {r"^101003": "101004", r"\(SUCCESS,": "(FAILURE,", r"(TA SAM.*) = .*": r"\1 = 1.5, -1.5"}
    again = []
    for time, day, text, kind in rows[begin : end + 1]:
        message = text
        for pattern, other in changes.items():
            message = re.sub(pattern, other, message)
        again.append([_later(time).replace("T", " "), day, message, kind])
    with visit.oss_log.open("w", newline="") as file:
        csv.writer(file).writerows([titles, *rows[: end + 1], *again, *rows[end + 1 :]])


def _later(time):
    return str(np.datetime64(time) + np.timedelta64(5, "m"))


def product(folder, number, kind):
    (path,) = (folder / f"visit{number}").glob(f"*_{kind}.fits")
    return path


def check_rows(ds, truth, numbers):
    """Compare rows with the truth of the set: the star of visit `number` is number * STEP px farther along y."""
    steps = np.asarray(numbers) * STEP
    assert ds["ok"].values.tolist() == [1] * len(numbers), ds["reason"].values
    np.testing.assert_allclose(ds["offset_x"], float(truth["offset_x"]), atol=1e-6)
    np.testing.assert_allclose(ds["offset_y"], float(truth["offset_y"]) - steps, atol=1e-6)
    moved = np.hypot(ds["target_x"] - float(truth["target_x"]), ds["target_y"] - float(truth["target_y"]))
    np.testing.assert_allclose(moved, steps, rtol=2e-3, atol=1e-6)
    on_sky = np.hypot(ds["offset_east"] - float(truth["offset_east"]), ds["offset_north"] - truth["offset_north"])
    np.testing.assert_allclose(on_sky, steps * truth.attrs["pixel_scale"], rtol=1e-2, atol=1e-7)
    np.testing.assert_array_equal(ds["visit"], [f"{10000 + n}001001" for n in numbers])
    days = np.datetime64("2024-03-10") + np.asarray(numbers, dtype="m8[D]")
    np.testing.assert_array_equal(ds["date"].values.astype("M8[D]"), days)
    assert set(ds["oss_prd"].values) == {"PRDOPSSOC-063"}


def check_ecsv(ds, path):
    from astropy.table import Table

    to_ecsv(ds, path)
    table, again = to_table(ds), Table.read(path)
    assert again.colnames == table.colnames
    assert again.meta == table.meta
    for name in table.colnames:
        mask = getattr(again[name], "mask", np.zeros(len(table), bool))
        np.testing.assert_array_equal(mask, table[name].mask)
        np.testing.assert_array_equal(again[name][~mask], table[name][~mask], err_msg=name)
        assert again[name].dtype.kind == table[name].dtype.kind, name
        assert (again[name].unit, again[name].description) == (table[name].unit, table[name].description)
    return again
