"""One sample."""

from samples import BROKEN

from tts.testing import ScriptedCluster, StrategyContract
from tts.types import Sampling


class TestSingle(StrategyContract):
    strategy = "single"
    order_free = True


def test_single_takes_one_sample_at_the_temperature_it_is_told():
    outcome = ScriptedCluster(["4", "5"]).run("single:temperature=0")
    assert outcome.result.answer == "4"
    assert [action.request.sampling.temperature for action in outcome.generated] == [0.0]
    default = ScriptedCluster(["4"], sampling=Sampling(temperature=0.3)).run("single")
    assert default.generated[0].request.sampling.temperature == 0.3


def test_single_says_that_its_only_sample_failed():
    result = ScriptedCluster([BROKEN]).run("single").result
    assert (result.selected, result.error.type) == (None, "AllFailed")
