"""Synthetic event logs for tests: rows of (second, message), visits around them, and their forms as text."""

import csv
import io

import numpy as np

from xta import osslog

A, B, C = "V01386001001", "V01759005001", "V01176241001"
ZERO = np.datetime64("2022-07-29T22:00:00.487", "us")
STARS = "*" * 46
DET = "detector coord (colCentroid, rowCentroid)       = "
HEADER = "theTime,MJD,euvalue,sqldataType"


def block(start, x, y, *, detector="NRCALONG", word="SUCCESS", sam=(0.25, -0.125)):
    """A synthetic TA block with the rows that follow it."""
    messages = [
        STARS,
        "TARGET LOCATE SUMMARY:",
        f"DETECTOR                                                             = {detector}",
        "(numCols, numRows)                                                     = (9, 9)",
        "cosmicrayMethod                                                      = STANDARD",
        "peakValue                                                          = 31644.0000",
        "peak postage-stamp coord (col, row)                    = (33, 32)",
        "(backgroundMethod, backgroundValue)                = (FRACTION, 377.000000)",
        "(total, numIter)                                             = (41789.6456, 2)",
        "last iteration diff (col, row)          = (0.00597289965, 0.00404494331)",
        "postage-stamp coord (colPeak, rowPeak) = (33, 32)",
        "postage-stamp coord (colCentroid, rowCentroid) = (32.8989118, 31.8784695)",
        f"{DET}({x}, {y})",
        "(colMoment2, rowMoment2)                        = (1.5D+00, 0.00000000e+0)",
        "(colMoment3, rowMoment3)                        = (nan, -1.#IND)",
        f"(convergenceFlag, convergenceThres)        = ({word}, 0.1000000000)",
        STARS,
        "From guiding: guider 2 X ideal -36.4840000 Y ideal -18.9970000",
        "target location (v2, v3)                          = (69.6593193, -515.715699)",
    ]
    if sam:
        messages.append(f"TA SAM (x, y) = {sam[0]}, {sam[1]}")
    return [(start + 1.024 * k, text) for k, text in enumerate(messages)]


def exposure(start, ident="102001", exp_type="NRC_TACQ", cfg="NRCA5"):
    return [
        (start, f"{ident} {exp_type} RAPID ints=1 grps=3 SUB64A335R flt=F335M/NULL/NULL/NULL"),
        (start + 1, f"{ident} pupil=MASKRND/NULL/NULL/NULL pil=RETRACT/RETRACT fam=NULL/NULL/NULL"),
        (start + 16, f"{ident} {exp_type} completed exptime=0.203 pctime=0.150 cfg={cfg}"),
    ]


def dither(start, x, y):
    return [
        (start, "From guiding: guider 2, X ideal -36.4000000 Y ideal -18.9000000"),
        (start + 1, f"Dither SAM (x, y) = {x}, {y}"),
    ]


def visit(name, start, rows, *, length=3000.0, end="ENDED", ta_script="NRCTAMAIN", ta_end=None):
    """A synthetic visit around some rows, with a few scripts."""
    script = f"{name}P0000000002102:{ta_script}"
    return [
        (start, f"VISIT {name} STARTED"),
        (start + 2, f"Script activated: {name}:CONVST"),
        (start + 4, f"Script terminated: {name}:CONVST:Proceed"),
        (start + 6, f"Group {name}:01 started"),
        (start + 60, f"Script activated: {script}"),
        *((start + 100 + second, text) for second, text in rows),
        (start + (ta_end or length - 200), f"Script terminated: {script}:Proceed"),
        (start + length - 100, f"Script activated: {name}0:FGSTERMINATE"),
        (start + length - 98, f"Script terminated: {name}0:FGSTERMINATE:Proceed"),
        (start + length, f"VISIT {name} {end}"),
    ]


def times_of(rows):
    return ZERO + np.array([round(1e6 * second) for second, _ in rows]).astype("m8[us]")


def to_csv(rows, *, header=True, newline="\n"):
    """Rows as the engineering database gives them, written independently of the code tested."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=newline)
    if header:
        writer.writerow(HEADER.split(","))
    for time, (_, message) in zip(times_of(rows), rows, strict=True):
        mjd = (time - np.datetime64("1858-11-17", "us")) / np.timedelta64(1, "D")
        writer.writerow([str(time).replace("T", " "), f"{mjd:.10f}", message, "varchar"])
    return out.getvalue()


def written(log):
    """A log as the engineering database would give it."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(
        [HEADER.split(","), *([str(t), "59789.5", m, "varchar"] for t, m in zip(log.times, log.messages, strict=True))]
    )
    return out.getvalue()


def read_rows(rows):
    return osslog.read(to_csv(rows))


SINGLE = visit(A, 0, [*exposure(0), *block(40, 1557.8437, 1548.52431)])
DITHERED = visit(
    A,
    0,
    [
        *exposure(0),
        *dither(40, 0.126, 0.252),
        *exposure(100, "102002"),
        *dither(140, 0.189, -0.315),
        *exposure(200, "102003"),
        *block(240, 1562.8437, 1547.52431),
        (262, "Correction to NRC SAM (x, y) = 0.0125, -0.0025"),
    ],
)
TWO_STAGE = visit(
    A,
    0,
    [
        *exposure(0, "101001", "MIR_TACQ", "MIRIMAGE"),
        *block(40, 412.5, 300.25, detector="MIRIMAGE"),
        *exposure(200, "102001", "MIR_TACQ", "MIRIMAGE"),
        *block(240, 133.591458, 587.606848, detector="MIRIMAGE", sam=(0.5, 0.75)),
        *exposure(400, "103001", "MIR_TACONFIRM", "MIRIMAGE"),
    ],
    ta_script="MIRTAMAIN",
)
FAILED = visit(
    A,
    0,
    [
        *exposure(0),
        *block(40, 1557.8, 1548.5, word="FAILURE", sam=None),
        (70, "NRC target locate failed"),
        (75, "FGS guide star reacquisition failed"),
    ],
    end="ENDED, EXCEEDED ALLOWED TIME",
)
NEXT = visit(B, 4000, [*exposure(0), *block(40, 999.25, 888.75)])
BEFORE = visit(C, -4000, [*exposure(0), *block(40, 111.25, 222.75)])


def detector_coords(log, name=None):
    return [(c.x_det, c.y_det) for c in log.centroids(name)]


def as_tab_text(rows):
    return "".join(f"{str(t)[:22].replace('T', ' ')}\t{m}\n" for t, (_, m) in zip(times_of(rows), rows, strict=True))
