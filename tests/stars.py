"""The star of sample visits: its truth, the bar on its position, and a TARG_ACQ extension that holds it."""

from astropy.io import fits

from xta.geometry import siaf

STAR_ERROR = 1e-4  # [pixel] the bar on simulated visits
CLOSED_LOOP = 1e-6  # [pixel]


def truth_of(visit, path):
    row = visit.truth.sel(file=path.name)
    return float(row["star_x"]), float(row["star_y"])


def assert_star(ds, truth, tolerance=STAR_ERROR):
    assert abs(float(ds["target_x"]) - truth[0]) <= tolerance
    assert abs(float(ds["target_y"]) - truth[1]) <= tolerance
    assert abs(float(ds["residual_x"])) <= CLOSED_LOOP
    assert abs(float(ds["residual_y"])) <= CLOSED_LOOP


def targ_acq(nircam, status="SUCCESSFUL", **keywords):
    x, y = truth_of(nircam, nircam.ta[0])
    with fits.open(nircam.ta[0], memmap=False) as hdus:
        header = hdus[0].header.copy()
    header["FILENAME"] = nircam.ta[0].name.replace("_cal", "_uncal")
    x_det, y_det = siaf.pixel_to_det(siaf.readout("NIRCAM", "NRCA5_TAMASK335R", None, header["PRD_VER"]), x, y)
    card = {"TASTATUS": status, "STAT_RSN": "", "DTCENCOL": x_det, "DTCENROW": y_det} | keywords
    return fits.HDUList([fits.PrimaryHDU(header=header), fits.ImageHDU(name="TARG_ACQ", header=fits.Header(card))])
