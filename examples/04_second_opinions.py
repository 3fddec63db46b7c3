# %% [markdown]
# # Second opinions
#
# The onboard centroid is one way to find the star behind the mask. The TA image, the maneuvers of the telescope, the
# guide star and the star's own speckles also show where it is. This example compares them on a sample program whose
# truth is known.
#
# This example needs no network.

# %%
import tempfile
from dataclasses import replace

import xta
from xta import datasets, osslog

program = datasets.make_program(tempfile.mkdtemp(), mode="nircam")
sci = xta.analyze(program.science[0])
truth = program.truth.sel(file=program.science[0].name)

# %% [markdown]
# ## All independent estimates
#
# `template` needs an image of the star behind the mask, such as a model made with STPSF. Here it is the image of the
# reference star, which was observed behind the same mask. `coadd` leaves out its bad pixels, which would otherwise
# match those of the exposure. `center` is the position of the star in this image.

# %%
reference = xta.analyze(program.reference[0])
model = reference.ta.coadd(method="median").sci.values
center = (float(reference.target_x), float(reference.target_y))

found = sci.ta.estimates()
found.drop_vars("why").to_dataframe().round(4)

# %%
speckles = sci.ta.estimate_center(template=model, center=center)
print(f"speckles: x {float(speckles.x):.4f} ± {float(speckles.x_sigma):.1g} px")
print(f"          y {float(speckles.y):.4f} ± {float(speckles.y_sigma):.1g} px")

# %% [markdown]
# ## Compare with the truth

# %%
table = found.dropna("estimate", subset=["x"])
for name, x, y in zip(table.estimate.values, table.x.values, table.y.values, strict=True):
    print(f"{name:12}{x - float(truth.star_x):+9.4f}{y - float(truth.star_y):+9.4f} px from the truth")
print(
    f"{'speckles':12}{float(speckles.x - truth.star_x):+9.4f}{float(speckles.y - truth.star_y):+9.4f} px from the truth"
)

# %% [markdown]
# The other estimates share the errors of the move to the mask and of the filter's shift, so they are off in the same
# way. The speckles show the star relative to the reference star, so this estimate is off by the error of `center`. Its
# standard error contains only the noise. The accuracy of a template is limited by the accuracy of the model.
#
# Each estimate has a sentence that describes the result, or the reason why there is none.

# %%
for name, why in zip(found.estimate.values, found.why.values, strict=True):
    print(f"{name}: {why}")

# %% [markdown]
# ## Is the event log consistent?
#
# With the SIAF that was on board, the centroid, the target location and the maneuver in the log agree to a millionth
# of an arcsecond. A position that is counted from 0 instead of 1 does not pass this test.

# %%
record = osslog.read(program.visits[0].oss_log).centroids(program.visits[0].visit_id)[0]
print(xta.closure(record).reason)
print(xta.closure(replace(record, x_det=record.x_det - 1, y_det=record.y_det - 1)).reason)
