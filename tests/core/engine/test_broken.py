"""Each broken component of `broken.py` is named, with what was found and what is expected, before the second step."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from dlpipe.config.check import load_pipeline
from dlpipe.engine.execute import dry_run, run
from dlpipe.errors import DlpipeError
from dlpipe.registry.loading import load_plugins

PIPELINE = """
name = "points"
plugins = ["./broken.py"]
[data]
use = "broken.points"
[model]
use = "broken.line"
[trainer]
use = "core.supervised"
steps = 4
log_every = 1
evaluate_every = 2
[evaluators.judge]
use = "broken.judge"
[evaluators.loss]
use = "core.loss"
[callbacks.watch]
use = "broken.watch"
"""
#: The values that put a broken component into the pipeline.
PLACES = {
    "data": "data.use={}",
    "model": "model.use={}",
    "trainer": 'trainer={{use="{}", steps=4, log_every=1, evaluate_every=2}}',
    "evaluator": "evaluators.judge.use={}",
    "callback": "callbacks.watch.use={}",
}
#: A line of the plugin, where the author's own code is what fails.
LINE = r" \(broken.py:\d+, in \w+\)"
POSITIONAL = "by position, but the columns of a batch are passed by name; expected the names of columns"
NO_GRAPH = "does not depend on a parameter that can be trained; expected one with requires_grad"
NOT_FINITE = r"\[trainer\] \"loss\" is nan in step 1. The first non-finite tensor is "

#: What ends the run before its first step, and the message.
REFUSED = {
    "no_splits": r'\[trainer\] the data has no split "train"; it has none',
    "no_training_split": r'\[trainer\] the data has no split "train"; it has dev, test',
    "unknown_split": r'\[data\] has the split "validation"; expected train, dev, test',
    "splits_as_text": r"\[data\] splits is 'train'; expected names, such as \(\"train\", \"dev\", \"test\"\)",
    "splits_none": r"\[data\] splits is None; expected names",
    "split_of_tensors": r"\[trainer\] the items of a split make a batch of type Tensor; expected each item to be a dict",
    "split_is_dict": r"\[trainer\] .* its split is a dict, neither dlpipe.data.Columns nor a torch dataset; choose other",
    "split_is_none": r"\[trainer\] this data has no examples to form batches of: its split is a NoneType, neither",
    "split_is_empty": r"\[trainer\] a split \(Columns\) has no examples; expected at least one",
    "split_raises": r"\[trainer\] AttributeError: 'SplitRaises' object has no attribute 'files'" + LINE,
    "columns_of_two_lengths": r"columns have different numbers of examples: \{'points': 8, 'targets': 7\}",
    "columns_of_lists": r"column 'points' is of type list; expected a tensor or Ragged",
    "no_targets": r"\[trainer\] the loss needs the column 'targets', but the data has points; choose data with targets",
    "other_columns_on_dev": r"\[evaluators.judge\] Line.forward needs the column 'points', but the data has point, tar",
    "targets_too_high": r"\[trainer\] IndexError: Target 4 is out of bounds",
    "points_not_numbers": NOT_FINITE + r"the output of `score` \(Linear\), at step 1",
    "facts_not_told": r"\[data\] .* its spec declares the fact 'num_inputs', but the data provides none",
    "facts_tensor": r"\[data\] the fact 'num_inputs' is a tensor; expected plain values such as numbers",
    "facts_list": r"\[data\] facts is list; expected a dict of facts by name",
    "facts_raise": r"\[data\] use = \"broken.facts_raise\": KeyError: 'size'" + LINE,
    "state_not_plain": r"\[data\] state\(\) cannot be written as JSON \(Object of type set is not JSON serializable\); e",
    "state_changed_by_json": r"\[data\] state\(\)\['words'\]\[1\] is not the same after it was written as JSON and read",
    "state_is_none": r"\[data\] state\(\) returns NoneType; expected a dict, empty if nothing was learned",
    "state_raises": r"\[data\] AttributeError: 'StateRaises' object has no attribute 'words'" + LINE,
    "state_not_restored": r"\[data\] state\(\)\['words'\] is not the same after restore\(\) of fresh data",
    "restore_raises": r"\[data\] KeyError: 'word'" + LINE,
    "fingerprint_number": r"\[data\] fingerprint\(\) returns int; expected a string",
    "fingerprint_raises": r"\[data\] AttributeError: 'FingerprintRaises' object has no attribute 'digest'" + LINE,
    "no_fingerprint": r"\[data\] .* NoFingerprint lacks the method fingerprint\(\), which every data needs",
    "misspelled_padding": r"\[data\] .* has the attribute padding, which dlpipe never uses; rename it to paddings",
    "no_such_column": r"\[trainer\] NoSuchColumn.forward needs the column 'pixels', but the data has targets, points",
    "columns_by_position": r"\[trainer\] ColumnsByPosition.forward takes \*points " + POSITIONAL,
    "no_forward": r"\[trainer\] NoForward.forward takes \*input: Any " + POSITIONAL,
    "returns_none": r"\[trainer\] the model returns NoneType for targets of shape \(8,\); cross-entropy needs a score f",
    "returns_tuple": r"\[trainer\] the model returns tuple for targets of shape \(8,\); cross-entropy needs a score for",
    "forward_raises": r"\[trainer\] AttributeError: 'ForwardRaises' object has no attribute 'scores'" + LINE,
    "wrong_shape": r"\[trainer\] RuntimeError: mat1 and mat2 shapes cannot be multiplied \(3x8 and 3x2\)" + LINE,
    "no_parameters": r"\[trainer\] there is no parameter to optimize; choose a model with parameters",
    "frozen": r"\[trainer\] there is no parameter to optimize; choose a model with parameters of which not all are frozen",
    "late_parameters": r'\[model\] the parameter "late" appeared in the first step, when the trainer had chosen',
    "loss_vector": r"\[trainer\] LossVector.loss returns a tensor of shape \(8,\); expected a tensor with one number",
    "loss_not_number": NOT_FINITE + "the loss of step 1; the model's outputs were finite",
    "loss_float": r"\[trainer\] LossFloat.loss returns float; expected a tensor with one number",
    "loss_none": r"\[trainer\] LossNone.loss returns NoneType; expected a tensor with one number",
    "loss_without_graph": r"\[trainer\] the loss of LossWithoutGraph " + NO_GRAPH,
    "loss_of_no_such_column": r"\[trainer\] LossOfNoSuchColumn.loss needs the column 'weights', but the data has points",
    "loss_is_layer": r"\[model\] .* LossIsLayer.loss is MSELoss, which dlpipe never calls; expected a method loss\(…\)",
    "loss_misspelled": r"\[model\] .* LossMisspelled has the method los\(\), which dlpipe never uses; rename it to loss",
    "loss_raises": r"\[trainer\] IndexError: index 101 is out of bounds for dimension 0 with size 8" + LINE,
    "predicts_too_few": r"\[evaluators.judge\] PredictsTooFew.predict returns shape \(7,\) for 8 examples; expected a t",
    "predicts_none": r"\[evaluators.judge\] PredictsNone.predict returns NoneType for 8 examples; expected a tensor",
    "predict_raises": r"\[evaluators.judge\] IndexError: Dimension out of range .*" + LINE,
    "no_init": r"\[model\] .* AttributeError: cannot assign module before Module.__init__\(\) call" + LINE,
    "no_module": r"\[model\] .* NoModule is not a model; expected a subclass of torch.nn.Module",
    "fact_nobody_tells": r"points.toml:6: \[model\] missing key `num_colors` of broken.fact_nobody_tells: expected a",
    "default_refused": r"points.toml:6: \[model\] broken.default_refused has the default width = 0, which its own annot",
    "extra_state": r"\[model\] .* state_dict\(\) cannot be saved: '_extra_state' is of type dict \(get_extra_state\(\)",
    "lazy_layer": r"\[model\] .* 'score.weight' has no size before the first step; expected sizes from the constructor",
    "weights_not_numbers": NOT_FINITE + r"the output of `score` \(Linear\), at step 1",
    "no_steps": r"\[trainer\] .* NoSteps lacks the method steps\(\), which every trainer needs",
    "steps_end": r"\[trainer\] steps\(\) ended before the first step; expected an endless iterator",
    "steps_end_after_one": r"\[trainer\] steps\(\) ended after the first step; expected an endless iterator",
    "steps_are_list": r"\[trainer\] steps\(\) returns list; expected an iterator, such as a generator",
    "yields_none": r"\[trainer\] steps\(\) gives NoneType; expected a dict of tensors by the name of the metric",
    "yields_number": r"\[trainer\] steps\(\) gives Tensor; expected a dict of tensors by the name of the metric",
    "yields_float": r'\[trainer\] steps\(\) gives "loss" as float; expected a tensor with one number',
    "yields_vector": r'\[trainer\] steps\(\) gives "loss" as a tensor of shape \(3,\); expected a tensor with one number',
    "yields_graph": r'\[trainer\] steps\(\) gives "loss" with its graph, which would use up the memory; detach\(\) it',
    "yields_nameless": r"\[trainer\] steps\(\) gives a metric named 1; expected a string",
    "step_raises": r"\[trainer\] AttributeError: 'StepRaises' object has no attribute 'losses'" + LINE,
    "model_is_none": r"\[trainer\] model is NoneType; expected a torch.nn.Module",
    "model_is_wrapped": r"\[trainer\] the weights of its `model` do not fit \[model\], .* Missing key.*\"score.weight\"",
    "optimizer_of_others": r'\[trainer\] the parameter "score.weight" of the model gets a gradient, but no optimizer',
    "optimizers_of_a_part": r'\[trainer\] the parameter "score.bias" of the model gets a gradient, but no optimizer',
    "state_with_lambda": r"\[trainer\] state_dict\(\)\['loss'\] is of type function; expected tensors, numbers, strings",
    "state_with_tuple": r"\[trainer\] state_dict\(\)\['pair'\] is of type Pair; expected tensors, numbers, strings, lists",
    "trainer_state_is_none": r"\[trainer\] state_dict\(\) returns NoneType; expected a dict",
    "state_lacks_key": r"\[trainer\] KeyError: 'seen'" + LINE,
    "state_is_ignored": r"\[trainer\] state_dict\(\)\['seen'\] is not the same after load_state_dict\(\) of a fresh",
    "trainer_state_raises": r"\[trainer\] AttributeError: 'TrainerStateRaises' object has no attribute 'schedule'"
    + LINE,
    "on_score_raises": r"\[trainer\] AttributeError: 'OnScoreRaises' object has no attribute 'schedule'" + LINE,
    "logs_tensors": r'\[trainer\] log_values\(\) gives "lr" as Tensor; expected a number',
    "logs_a_metric": r'\[trainer\] log_values\(\) gives "loss", which steps\(\) gives, too; rename one of them',
    "log_values_raise": r"\[trainer\] AttributeError: 'LogValuesRaise' object has no attribute 'lr'" + LINE,
    "no_steps_in_an_epoch": r"\[trainer\] steps_per_epoch is 0; expected a whole number above 0, or None",
    "half_steps_in_an_epoch": r"\[trainer\] steps_per_epoch is 2.66\d+; expected a whole number above 0, or None",
    "total_steps_as_text": r"\[trainer\] total_steps is 'all'; expected a whole number above 0, or None",
    "half_of_a_pair": r"\[trainer\] .* HalfOfAPair has state_blocks\(\) but lacks load_state_blocks\(\); dlpipe needs",
    "unknown_goal": r'\[evaluators.judge\] goal is "highest"; expected "max" or "min"',
    "no_goal": r'\[evaluators.judge\] goal is null; expected "max" or "min"',
    "primary_not_returned": r'\[evaluators.judge\] primary is "accuracy", but evaluate\(\) returns score',
    "primary_is_number": r"\[evaluators.judge\] primary is 1; expected the name of a metric, or None",
    "evaluates_to_none": r"\[evaluators.judge\] evaluate\(\) returns NoneType; expected a dict of numbers by name",
    "evaluates_to_list": r"\[evaluators.judge\] evaluate\(\) returns list; expected a dict of numbers by name",
    "evaluates_to_text": r'\[evaluators.judge\] evaluate\(\) gives "score" as str; expected a number',
    "evaluates_to_vector": r'\[evaluators.judge\] evaluate\(\) gives "score" as a tensor of shape \(2,\); expected a nu',
    "evaluate_raises": r"\[evaluators.judge\] AttributeError: 'EvaluateRaises' object has no attribute 'count'" + LINE,
    "evaluate_takes_no_examples": r"\[evaluators.judge\] TypeError: EvaluateTakesNoExamples.evaluate\(\) takes 2 posi",
    "changes_weights": r"\[evaluators.judge\] evaluate\(\) changes the weights of the model: \['score.weight'\]; change",
    "write_raises": r"\[evaluators.judge\] AttributeError: 'WriteRaises' object has no attribute 'figure'" + LINE,
    "writes_text": r"\[evaluators.judge\] write\(\): str is handed over for the report; expected a list of ReportItems",
    "sample_raises": r"\[evaluators.judge\] AttributeError: 'SampleRaises' object has no attribute 'figure'" + LINE,
    "sample_of_no_step": r"\[evaluators.judge\] TypeError: SampleOfNoStep.sample\(\) takes 2 positional arguments but",
    "no_write": r"\[evaluators.judge\] .* NoWrite lacks the method write\(\), which every evaluator needs",
    "judge_raises": r"\[evaluators.judge\] use = \"broken.judge_raises\": KeyError: 'table'" + LINE,
    "no_hook": r"\[callbacks.watch\] .* NoHook has no hook, so it would never be called; expected a method decorated",
    "misspelled_hook": r"\[callbacks.watch\] .* unknown hook 'dlpipe_step_loged'. Did you mean \"dlpipe_step_logged\"\?",
    "unmarked_hook": r"\[callbacks.watch\] .* dlpipe_step_logged\(\) is missing the @hookimpl decorator",
    "unknown_argument": r"\[callbacks.watch\] .* dlpipe_step_logged\(\) has the argument 'loss'; this hook provides: m",
    "hook_of_plugins": r"\[callbacks.watch\] .* dlpipe_models\(\) is a hook of a plugin module \(plugin.py\); move it",
    "hook_yields": r"\[callbacks.watch\] .* dlpipe_step_logged\(\) has `yield` or is `async`, so that calling it would",
    "hook_is_async": r"\[callbacks.watch\] .* dlpipe_step_logged\(\) has `yield` or is `async`, so that calling it w",
    "watch_raises": r"\[callbacks.watch\] .* nowhere/log.txt: No such file or directory" + LINE,
}
#: What only warns, why a finished run is right all the same, and the warning.
WARNED = {
    "never_updates": (
        "a trainer may have reasons, such as a warm-up",
        r"\[trainer\] the parameters have gradients, but the first step changed none of them: does steps\(\) call opt",
    ),
    "state_lacks_optimizer": (
        "only a resumed run would be wrong",
        r"\[trainer\] a resumed run would differ: after a checkpoint, .* \(\['weight'\]\['score.weight'\]\). state_dict",
    ),
    "never_number": (
        "the metrics are logged as they are",
        r"dev/judge/score was not a number in any of the 2 evaluations, so no checkpoint is the best one; the last one",
    ),
    "changes_metrics": (
        "the log has the right metrics",
        r"callback \[callbacks.watch\] changes what dlpipe_step_logged passes to it; only its own copy changes",
    ),
    **{
        f"raises_at_{moment}": (
            "a callback observes a run, which does not depend on it",
            rf"callback \[callbacks.watch\] failed in {hook} and is disabled for the rest of the run: AttributeError.*"
            + LINE,
        )
        for moment, hook in {
            "start": "dlpipe_run_start",
            "log": "dlpipe_step_logged",
            "epoch": "dlpipe_epoch_end",
            "evaluation": "dlpipe_evaluated",
            "checkpoint": "dlpipe_checkpoint_saved",
            "end": "dlpipe_run_end",
        }.items()
    },
}
#: What works, since dlpipe does not depend on it.
ACCEPTED = {"points", "line", "learn", "judge", "watch", "leaves_training_mode"}


@pytest.fixture
def run_with(tmp_path, monkeypatch):
    """Run the pipeline with one component of `broken.py`, and return the folder of the runs."""
    shutil.copy(Path(__file__).with_name("broken.py"), tmp_path)
    (tmp_path / "points.toml").write_text(PIPELINE)
    monkeypatch.chdir(tmp_path)

    def run_with(name, *, dry=False, rehearsal=True):
        registry = load_plugins()
        load_pipeline("points.toml", registry, allow_local_plugins=True)  # so that the kind of the component is known
        [kind] = [kind for kind in PLACES if f"broken.{name}" in registry.components[kind]]
        assignments = [PLACES[kind].format(f"broken.{name}")]
        pipeline = load_pipeline("points.toml", registry, assignments, allow_local_plugins=True)
        return dry_run(pipeline) if dry else run(pipeline, registry, tmp_path / "runs", rehearsal=rehearsal)

    return run_with


def test_every_broken_component_is_tested(run_with):
    registry = load_plugins()
    load_pipeline("points.toml", registry, allow_local_plugins=True)

    offered = {name for kind in PLACES for name in registry.components[kind] if name.startswith("broken.")}
    assert {name.removeprefix("broken.") for name in offered} == {*REFUSED, *WARNED, *ACCEPTED}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_broken_is_named_before_the_first_step(run_with, tmp_path, name):
    with pytest.raises(DlpipeError, match=REFUSED[name]) as caught:
        run_with(name)

    assert caught.value.exit_code > 0
    assert "weights_only" not in str(caught.value)
    assert not any(path.read_text() for path in tmp_path.rglob("metrics.jsonl"))


@pytest.mark.parametrize("name", WARNED)
def test_what_costs_no_result_is_a_warning(run_with, name):
    folder = run_with(name)

    found = json.loads((folder.path / "provenance.json").read_text())["warnings"]
    found = [warning for warning in found if "also occur in" not in warning]
    assert len(found) == 1
    assert re.match(WARNED[name][1], found[0])
    assert folder.status()["state"] == "finished"


@pytest.mark.parametrize("name", sorted(ACCEPTED))
def test_what_is_right_finishes_without_a_warning(run_with, name):
    folder = run_with(name)

    found = json.loads((folder.path / "provenance.json").read_text()).get("warnings", [])
    assert [warning for warning in found if "also occur in" not in warning] == []
    assert folder.status()["state"] == "finished"


@pytest.mark.parametrize("name", ["no_hook", "watch_raises", "state_lacks_key", "on_score_raises", "predicts_none"])
def test_a_dry_run_says_the_same(run_with, name):
    with pytest.raises(DlpipeError, match=REFUSED[name]):
        run_with(name, dry=True)


@pytest.mark.parametrize(
    "name", ["state_with_lambda", "state_with_tuple", "extra_state", "lazy_layer", "half_of_a_pair"]
)
def test_what_cannot_be_read_back_is_named_without_a_rehearsal_too(run_with, tmp_path, name):
    with pytest.raises(DlpipeError, match=REFUSED[name]):
        run_with(name, rehearsal=False)

    assert not [*tmp_path.rglob("step-*")]
