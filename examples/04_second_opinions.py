# %% [markdown]
# # Second opinions
#
# The onboard centroid is one witness of where the star is behind the mask. The TA image, the maneuvers of the telescope, the
# guide star and the star's own speckles are others. Here they are asked, on a sample program whose truth is known.
#
# Nothing here needs the network.

# %%
import tempfile
from dataclasses import replace

import xta
from xta import datasets, osslog

program = datasets.make_program(tempfile.mkdtemp(), mode="nircam")
sci = xta.analyze(program.science[0])
truth = program.truth.sel(file=program.science[0].name)

# %% [markdown]
# ## Every estimate that the data allow
#
# `template` needs an image of the star behind the mask. A model by STPSF would do; here the reference star, observed behind the
# same mask, serves as one. `center` says where the star is in it.

# %%
reference = xta.analyze(program.reference[0])
model = reference.sci.median("integration").values
center = (float(reference.target_x), float(reference.target_y))

found = sci.ta.estimates()
found.drop_vars("why").to_dataframe().round(4)

# %%
speckles = sci.ta.estimate_center(template=model, center=center)
print(f"speckles: x {float(speckles.x):.4f} ± {float(speckles.x_sigma):.4f} px")
print(f"          y {float(speckles.y):.4f} ± {float(speckles.y_sigma):.4f} px")

# %% [markdown]
# ## Against the truth

# %%
table = found.dropna("estimate", subset=["x"])
for name, x, y in zip(table.estimate.values, table.x.values, table.y.values, strict=True):
    print(f"{name:12}{x - float(truth.star_x):+9.4f}{y - float(truth.star_y):+9.4f} px from the truth")
print(
    f"{'speckles':12}{float(speckles.x - truth.star_x):+9.4f}{float(speckles.y - truth.star_y):+9.4f} px from the truth"
)

# %% [markdown]
# The speckles are a tenth of a pixel off, far beyond their standard error, which knows of noise only. The reference star stood elsewhere
# behind the mask, and what leaks around the mask depends on that. A template is as good as the model is.
#
# Each estimate says in a sentence what it found, or why it could not.

# %%
for name, why in zip(found.estimate.values, found.why.values, strict=True):
    print(f"{name}: {why}")

# %% [markdown]
# ## Does the acquisition close?
#
# Centroid, target location and maneuver of the log have to fit together through the SIAF that was on board, to a
# millionth of an arcsecond. A position that is counted from 0 instead of 1 does not pass.

# %%
record = osslog.read(program.visits[0].oss_log).centroids(program.visits[0].visit_id)[0]
print(xta.closure(record).reason)
print(xta.closure(replace(record, x_det=record.x_det - 1, y_det=record.y_det - 1)).reason)
