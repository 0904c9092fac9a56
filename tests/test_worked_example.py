"""The anchor: every number of the worked example, and PyTorch's own."""

from dataclasses import replace

import numpy as np
import pytest
from arrays import DTYPES
from cases import WITH_AUTO

from fastconv.cli.example import pytorch_example
from fastconv.worked_example import EXPECTED, AnchorError, check, run

NAMES = list(EXPECTED)
UPDATES = ("manual_update", "sgd_step")
UPDATED = [[2.52, 1.36], [0.04, 3.88]]
every_kernel = pytest.mark.parametrize("algorithm", WITH_AUTO)


@every_kernel
@pytest.mark.parametrize("dtype", DTYPES)
def test_each_number(dtype: str, algorithm: str) -> None:
    example = run(dtype, algorithm)
    check(example)
    for name in set(NAMES) - set(UPDATES):
        found = getattr(example, name)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, EXPECTED[name])
    for name in UPDATES:
        rounding = 2 * float(np.finfo(dtype).eps)
        np.testing.assert_allclose(getattr(example, name), EXPECTED[name], rtol=0, atol=rounding)


def test_the_readme_s_numbers() -> None:
    example = run()
    assert example.output.tolist() == [[36, 47], [69, 80]]
    assert (example.total, example.loss, example.total_gradient) == (232, 4, 4)
    assert example.kernel_gradient.tolist() == [[48, 64], [96, 112]]
    for updated in (example.manual_update, example.sgd_step):
        assert np.round(updated, 6).tolist() == np.array(UPDATED, np.float32).tolist()


@every_kernel
@pytest.mark.parametrize("dtype", DTYPES)
def test_pytorch_gives_the_same(dtype: str, algorithm: str) -> None:
    pytest.importorskip("torch")
    theirs = pytorch_example(dtype)
    assert theirs is not None
    ours = run(dtype, algorithm)
    assert sorted(theirs) == sorted(NAMES)
    for name in NAMES:
        found = getattr(ours, name)
        assert found.dtype == theirs[name].dtype
        if name in UPDATES and dtype == "float64":
            # PyTorch fuses the product with the sum in float64: it rounds once, NumPy twice.
            atol = float(np.finfo(dtype).eps)
            np.testing.assert_allclose(found, theirs[name], rtol=0, atol=atol)
        else:
            np.testing.assert_array_equal(found, theirs[name])


@pytest.mark.parametrize("name", NAMES)
def test_check_names_the_number_that_is_off(name: str) -> None:
    example = run()
    wrong = getattr(example, name).copy()
    wrong[(0,) * wrong.ndim] += 1e-3
    with pytest.raises(AnchorError, match=rf"worked example's {name} is .* must be"):
        check(replace(example, **{name: wrong}))


@pytest.mark.parametrize("dtype", DTYPES)
def test_algorithms_for_3x3_kernels_run_it_grown(dtype: str) -> None:
    example = run(dtype, "winograd")
    check(example)
    rounding = 20 * float(np.finfo(dtype).eps)
    for name in NAMES:
        np.testing.assert_allclose(getattr(example, name), EXPECTED[name], rtol=rounding)
    off = example.output + np.asarray(1e-3, dtype)
    with pytest.raises(AnchorError, match="output is"):
        check(replace(example, output=off))


def test_check_refuses_what_is_no_number_and_another_shape() -> None:
    example = run()
    with pytest.raises(AnchorError, match=r"output is .*nan"):
        check(replace(example, output=np.full_like(example.output, np.nan)))
    with pytest.raises(AnchorError, match="total is"):
        check(replace(example, total=np.full((1,), 232, np.float32)))
