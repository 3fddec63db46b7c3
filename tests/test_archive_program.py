import os
import stat
import time

import pytest
from click.testing import CliRunner

import xta
from tests import archive_server as faulty
from tests.archive_server import hold, left_in
from xta import archive, datasets
from xta.archive import Policy, cache
from xta.cli import main
from xta.errors import (
    ArchiveBusyError,
    ArchiveError,
    ArchiveNotAuthorizedError,
    ArchiveNotFoundError,
    ArchiveReplyError,
    ArgumentError,
    XtaWarning,
)

SECRET = "a-token-0123456789abcdef"
QUICK = Policy(connect=2.0, read=2.0, deadline=10.0, attempts=2, backoff=0.01, workers=3)


@pytest.fixture(scope="module")
def visits(tmp_path_factory):
    """A star and a reference star."""
    folder = tmp_path_factory.mktemp("program")
    small = {"integrations": 1, "ideal": True}
    return [
        datasets.make_visit(folder / "1", visit_id="09991001001", **small),
        datasets.make_visit(
            folder / "2", visit_id="09991002001", role="reference", start="2024-03-10T08:14:07.424", **small
        ),
    ]


@pytest.fixture(autouse=True)
def _program_in_archive(server, visits):
    hold(server, *visits, science=True)


def names(visits, *, logs=True):
    """Names of all files of visits: products in time order, then logs."""
    products = [path.name for visit in visits for path in (*visit.ta, *visit.science)]
    return [*products, *(f"V{visit.visit_id}_osslog.csv" for visit in visits if logs)]


def relist(server, visits, **values):
    """Change what the archive lists of the science exposures."""
    science = {path.name for visit in visits for path in visit.science}
    table = server.tables["Nircam"]
    server.tables["Nircam"] = [row | values if row["filename"] in science else row for row in table]


# --- list -------------------------------------------------------------------------------------------------


def test_program_products_of_all_roles(server, visits):
    ta, science, reference_ta, reference = archive.program_products(9991, policy=QUICK)
    assert [p.filename for p in (ta, science, reference_ta, reference)] == names(visits, logs=False)
    assert [p.role for p in (ta, science, reference_ta, reference)] == [
        *("acquisition", "science", "acquisition", "reference")
    ]
    assert (science.filter, science.target, science.size) == (
        "F444W",
        "Sample-Star",
        visits[0].science[0].stat().st_size,
    )
    assert {request.target.rpartition(".")[2] for request in server.asked()} == {"Nircam", "Miri"}


def test_program_products_of_background(server, visits):
    relist(server, visits, bkgdtarg="t", is_psf="t")
    assert {p.role for p in archive.program_products(9991, policy=QUICK)} == {"acquisition", "background"}


@pytest.mark.parametrize("observations", [2, "2", "2-2", [2], (2,)])
def test_program_products_of_observations(visits, observations):
    products = archive.program_products("9991", observations=observations, policy=QUICK)
    assert [product.filename for product in products] == names(visits[1:], logs=False)


def test_program_products_of_filter_keep_acquisitions(server, visits):
    relist(server, visits[1:], filter="F250M")
    products = archive.program_products(9991, filters="f250m", policy=QUICK)
    assert [product.filename for product in products] == names(visits[1:], logs=False)


def test_program_products_without_other_modes(server, visits):
    relist(server, visits[1:], exp_type="NRC_IMAGE")
    products = archive.program_products(9991, policy=QUICK)
    assert [product.filename for product in products] == names(visits[:1], logs=False)


def test_program_products_of_lower_level(visits):
    products = archive.program_products(9991, kind="rateints", policy=QUICK)
    assert [product.filename.rpartition("_")[2] for product in products] == ["rate.fits", "rateints.fits"] * 2
    assert {product.size for product in products} == {None}


def test_program_products_listed_only_at_lower_level(server, visits):
    names = {path.name: path.name.replace("calints", "uncal") for visit in visits for path in visit.science}
    table = server.tables["Nircam"]
    server.tables["Nircam"] = [row | {"filename": names.get(row["filename"], row["filename"])} for row in table]
    with pytest.raises(ArchiveNotFoundError, match="no coronagraphic exposure"):
        archive.program_products(9991, policy=QUICK)
    assert len(archive.program_products(9991, kind="uncal", policy=QUICK)) == 4


def test_program_products_warns_of_missing_observation():
    with pytest.warns(XtaWarning, match="observation 7"):
        archive.program_products(9991, observations="1,7", policy=QUICK)


@pytest.mark.parametrize(
    "options", [{"observations": 7}, {"filters": "F250M"}, {"kind": "cal"}, {"instrument": "MIRI"}]
)
def test_program_products_of_nothing(options):
    with pytest.raises(ArchiveNotFoundError, match="9991"):
        archive.program_products(9991, policy=QUICK, **options)


@pytest.mark.parametrize(
    ("program", "options"),
    [
        ("9991:1", {}),
        (0, {}),
        (9991, {"observations": "3-1"}),
        (9991, {"observations": "all"}),
        (9991, {"observations": 0}),
        (9991, {"kind": "i2d"}),
        (9991, {"instrument": "NIRSPEC"}),
    ],
)
def test_program_products_refuses_arguments(server, program, options):
    with pytest.raises(ArgumentError):
        archive.program_products(program, policy=QUICK, **options)
    assert not server.asked()


@pytest.mark.parametrize("name", ["../jw09991001001_cal.fits", "jw01386001001_03105_00001_nrcalong_calints.fits"])
def test_program_products_refuses_other_names(server, visits, name):
    relist(server, visits, filename=name)
    with pytest.raises(ArchiveReplyError, match="not the name of one of its products"):
        archive.program_products(9991, policy=QUICK)


def test_program_products_offline_and_after_a_day(server, store):
    asked = archive.program_products(9991, policy=QUICK)
    count = len(server.asked())
    assert archive.program_products(9991, policy=QUICK) == asked
    assert len(server.asked()) == count
    for path in store.glob("searches/*.json"):
        os.utime(path, (time.time() - 90_000,) * 2)
    assert archive.program_products(9991, offline=True) == asked
    assert len(server.asked()) == count
    server.tables["Nircam"] = server.tables["Nircam"][:2]  # something changed
    assert archive.program_products(9991, policy=QUICK) == asked[:2]
    assert {item.name for item in cache.report()} == {
        f"searches/09991-{name}-program.json" for name in ("nircam", "miri")
    }


# --- fetch ------------------------------------------------------------------------------------------------


def test_fetch_program_makes_a_folder_to_analyze(server, visits, tmp_path):
    folder = tmp_path / "data"
    files = archive.fetch_program(9991, folder, policy=QUICK)
    assert files == {name: folder / name for name in names(visits)}
    assert left_in(folder) == sorted(names(visits))
    for path in (path for visit in visits for path in visit.science):
        assert (folder / path.name).read_bytes() == path.read_bytes()
    tree = xta.open_program(folder).ta.analyze(offline=True, centroid="oss", corrections="none")
    assert set(tree["F444W"].children) == {"science", "reference"}
    path = visits[1].science[0]
    ds = tree[f"F444W/reference/{path.name.removesuffix('.fits')}"]
    truth = visits[1].truth.sel(file=path.name)
    assert float(ds["target_x"]) == pytest.approx(float(truth["star_x"]), abs=1e-3)
    assert ds["centroid_kind"].item() == "oss"


def test_fetch_program_into_the_cache(server, visits):
    files = archive.fetch_program(9991, policy=QUICK)
    assert list(files) == names(visits, logs=False)
    assert all(path.is_relative_to(cache.root()) for path in files.values())
    count = len(server.asked())
    assert archive.fetch_program(9991, offline=True) == files
    assert len(server.asked()) == count


def test_fetch_program_goes_on_after_errors(server, visits, tmp_path):
    bad = visits[0].science[0].name
    server.fail(bad, faulty.cut(0.5), faulty.cut(0.5))
    files = archive.fetch_program(9991, tmp_path, log=False, policy=Policy(attempts=1, deadline=5.0))
    assert isinstance(files.pop(bad), ArchiveBusyError)
    assert all(path.is_file() for path in files.values())
    assert left_in(tmp_path / "cache")  # where the tests have it
    count = len(server.asked())
    again = archive.fetch_program(9991, tmp_path, log=False, policy=QUICK)
    assert again[bad].read_bytes() == visits[0].science[0].read_bytes()
    later = server.asked()[count:]
    assert {request.target.rpartition("/")[2] for request in later} == {bad}
    assert later[0].headers["Range"].startswith("bytes=")


def test_fetch_program_leaves_what_is_complete(server, visits, tmp_path):
    archive.fetch_program(9991, tmp_path, log=False, policy=QUICK)
    path = tmp_path / visits[0].science[0].name
    before, count = path.stat(), len(server.asked("product"))
    cache.clear("products")
    archive.fetch_program(9991, tmp_path, log=False, policy=QUICK)
    assert len(server.asked("product")) == count
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    path.write_bytes(b"x" * before.st_size)
    archive.fetch_program(9991, tmp_path, log=False, policy=QUICK)
    assert path.read_bytes() == visits[0].science[0].read_bytes()


def test_fetch_program_offline_needs_a_list(server, tmp_path):
    with pytest.raises(ArchiveError, match="network is off"):
        archive.fetch_program(9991, tmp_path, offline=True)
    assert not server.asked()


def test_fetch_program_of_exclusive_data(server, visits, tmp_path, caplog):
    server.protected = dict.fromkeys(server.products, SECRET)
    files = archive.fetch_program(9991, tmp_path / "a", log=False, policy=QUICK)
    assert {type(error) for error in files.values()} == {ArchiveNotAuthorizedError}
    files = archive.fetch_program(9991, tmp_path / "a", log=False, token=SECRET, policy=QUICK)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.values()} == {0o600}
    assert SECRET not in caplog.text
    assert not any(SECRET.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert not any("Authorization" in request.headers for request in server.asked("Filtered"))


def test_fetch_program_progress_on_stderr(visits, capsys):
    archive.fetch_program(9991, log=False, progress=True, policy=QUICK)
    out, err = capsys.readouterr()
    assert out == ""
    assert "4/4" in err
    assert visits[0].science[0].name in err


# --- command ----------------------------------------------------------------------------------------------


def run(*arguments):
    return CliRunner().invoke(main, ["fetch", *map(str, arguments)])


def test_cli_fetch_program(server, visits, tmp_path):
    listed = run(9991, "--obs", "1-2", "--list")
    assert listed.exit_code == 0, listed.output
    assert "4 files" in listed.stdout
    assert all(name in listed.stdout for name in names(visits, logs=False))
    assert not server.asked("product")
    done = run(9991, "--obs", "1-2", "--products", "calints", "--log", "-o", tmp_path / "got")
    assert done.exit_code == 0, done.output
    assert done.stdout.split() == [str(tmp_path / "got" / name) for name in names(visits)]


def test_cli_fetch_lists_exclusive_data_and_unknown_sizes(server, visits):
    relist(server, visits, publicReleaseDate_mjd=90_000.0)
    assert run(9991, "--list").stdout.count("exclusive until 2105-04-16") == 2
    assert "4 whose size is not listed" in run(9991, "--products", "uncal", "--dry-run").stdout
    assert "1 file," in run(f"V{visits[0].visit_id}", "--list").stdout


def test_cli_fetch_names_failures(server, visits, tmp_path):
    bad = visits[0].science[0].name
    server.always(bad, faulty.status(404))
    done = run(9991, 9992, "-o", tmp_path / "got")
    assert done.exit_code == 1
    assert f"2 of 5 failed: {bad}, 9992" in done.stderr
    assert len(done.stdout.split()) == 3


def test_cli_fetch_refuses_options_of_programs():
    assert run("V09991001001", "--obs", "1").exit_code == 2
    assert run(9991, "--obs", "x").exit_code == 1
