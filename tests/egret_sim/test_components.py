"""A bench for each component, in three shapes; and each bench finds a planted fault."""

import pytest

from egret_sim.benches import shapes
from egret_sim.build import SimulationError, build

SEED = 1
BENCHES = [
    "queues",
    "weight_fetch",
    "mac_array",
    "sum_gather",
    "neuron_update",
    "event_encoder",
    "tiles",
]
#: Each component's own bench, which a planted fault must fail.
COMPONENTS = {
    "event_queue": "queues",
    "recurrent_queue": "queues",
    "weight_fetch": "weight_fetch",
    "mac_array": "mac_array",
    "sum_gather": "sum_gather",
    "neuron_update": "neuron_update",
    "event_encoder": "event_encoder",
    "tile": "tiles",
    "readout": "tiles",
}


@pytest.fixture(scope="module", params=shapes.SHAPES)
def bundle(request):
    shape = shapes.SHAPES[request.param]
    return request.param, build(texts={"bundle.v": shapes.convert(shape)}, top=shapes.TOP)


def run(bundle, bench, directory, *, planted=False, **options):
    name, simulation = bundle
    environment = {"EGRET_SHAPE": name, "EGRET_SEED": str(SEED), "EGRET_PLANT": str(int(planted))}
    simulation.run(
        f"egret_sim.benches.{bench}", seed=SEED, run_directory=directory, environment=environment, **options
    )


@pytest.mark.parametrize("bench", BENCHES)
def test_a_component_does_what_its_model_says_under_all_stalls(bundle, bench, tmp_path):
    run(bundle, bench, tmp_path)


@pytest.fixture(scope="module")
def uneven():
    return "uneven", build(texts={"bundle.v": shapes.convert(shapes.SHAPES["uneven"])}, top=shapes.TOP)


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_bench_finds_a_planted_fault(uneven, component, tmp_path):
    """From some transfer on, the component is given a flipped bit that its model does not know of."""
    with pytest.raises(SimulationError, match=f"{component}.*expected"):
        run(uneven, COMPONENTS[component], tmp_path, planted=True, testcase=f"{component}/stalls=half")


def test_every_component_of_the_bundle_has_a_bench():
    assert set(shapes.SHAPES["uneven"].components) == set(COMPONENTS)
