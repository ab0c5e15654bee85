"""The timed shapes, as the tuner checks them."""

import numpy as np
import pytest
from conftest import BUILD
from muattn_tools.c_library import Library
from muattn_tools.problems import SHAPES, all_shapes, backward_shapes
from muattn_tools.tune.build import Build, Clock
from muattn_tools.tune.cases import timed
from muattn_tools.tune.measure import check


@pytest.mark.parametrize("direction, shapes", [("forward", all_shapes), ("backward", backward_shapes)])
def test_what_is_there_is_right_on_every_shape(direction, shapes, tmp_path):
    library = Library(Build(BUILD).present_library(tmp_path, Clock(60)), "")
    for operation, shape in shapes(SHAPES):
        check(library, [timed(operation, direction, shape, np.random.default_rng(1))])
