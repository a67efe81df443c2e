"""The components, commands and rules of dlpipe itself, offered like those of any plugin. Does not import torch."""

from __future__ import annotations

from collections.abc import Iterable

from dlpipe.registry.hooks import hookimpl
from dlpipe.registry.specs import CallbackSpec, CommandSpec, DataSpec, EvaluatorSpec, ModelSpec, RuleSpec, TrainerSpec

DLPIPE_API = (1, 0)


@hookimpl
def dlpipe_data() -> Iterable[DataSpec]:
    """Offer data of any domain."""
    return [
        DataSpec(
            "table",
            "dlpipe.tabular.table:Table",
            "tables (CSV, TSV, Parquet, scikit-learn's): classes or numbers from columns",
            requires=("polars", "scikit-learn"),
            extra="dlpipe[table]",
            facts=(
                "num_features",
                "cardinalities",
                "feature_names",
                "labels",
                "num_classes",
                "num_targets",
                "target_names",
                "target_mean",
                "target_scale",
            ),
        ),
    ]


@hookimpl
def dlpipe_models() -> Iterable[ModelSpec]:
    """Offer models for data of any domain, and simple ones to compare others with."""
    return [
        ModelSpec(
            "mlp",
            "dlpipe.models.mlp:MLP",
            "fully connected network for tables and images; without hidden layers, a linear model",
            formerly=("vision.mlp",),
        ),
        ModelSpec(
            "ensemble",
            "dlpipe.training.ensemble:Ensemble",
            "averages the predictions of trained models",
            same_facts=("labels",),
        ),
        ModelSpec(
            "majority_class",
            "dlpipe.baselines.majority_class:MajorityClass",
            "baseline: the most frequent class",
        ),
        ModelSpec(
            "logistic_regression",
            "dlpipe.baselines.logistic_regression:LogisticRegression",
            "baseline: a weighted sum of the features",
            requires=("scikit-learn",),
            extra="dlpipe[baselines]",
        ),
        ModelSpec(
            "nearest_neighbors",
            "dlpipe.baselines.nearest_neighbors:NearestNeighbors",
            "baseline: the vote of the most similar training examples",
        ),
        ModelSpec(
            "random_forest",
            "dlpipe.baselines.random_forest:RandomForest",
            "baseline: many decision trees",
            requires=("scikit-learn",),
            extra="dlpipe[baselines]",
        ),
        ModelSpec("mean", "dlpipe.baselines.mean:Mean", "baseline: the mean of the targets"),
        ModelSpec(
            "linear_regression",
            "dlpipe.baselines.linear_regression:LinearRegression",
            "baseline: a weighted sum of the features, by least squares",
            requires=("scikit-learn",),
            extra="dlpipe[baselines]",
        ),
    ]


@hookimpl
def dlpipe_trainers() -> Iterable[TrainerSpec]:
    """Offer the trainer for any model with a loss, and that for none."""
    return [
        TrainerSpec(
            "supervised",
            "dlpipe.training.supervised:Supervised",
            "minimizes a loss by gradient descent",
            parallel=("ddp", "fsdp"),
            precision=("float16",),
            compile=True,
            changeable=(
                "optimizer",
                "schedule",
                "warmup_steps",
                "loss",
                "label_smoothing",
                "class_weights",
                "sampling",
                "max_grad_norm",
                "ema_decay",
                "activation_checkpointing",
                "num_workers",
            ),
            renamed={
                "accumulate": "gradient_accumulation_steps",
                "bucket": "bucket_by_length",
                "workers": "num_workers",
            },
        ),
        TrainerSpec(
            "fit",
            "dlpipe.training.fit:Fit",
            "fits a model to all examples at once, as scikit-learn does",
            finite=True,
            replaces_weights=True,
        ),
        TrainerSpec(
            "lsuv",
            "dlpipe.training.lsuv:LSUV",
            "initial weights with which the outputs of each layer have variance 1 (LSUV), in one step",
            finite=True,
            replaces_weights=True,
        ),
        TrainerSpec("no_training", "dlpipe.training.one_step:NoTraining", "leaves the model as it is", finite=True),
    ]


@hookimpl
def dlpipe_evaluators() -> Iterable[EvaluatorSpec]:
    """Offer the evaluators for any domain."""
    return [
        EvaluatorSpec(
            "loss",
            "dlpipe.training.mean_loss:Loss",
            "mean loss over all targets",
            from_trainer=("loss",),
            primary_depends_on=("loss",),
        ),
        EvaluatorSpec(
            "classification",
            "dlpipe.evaluation.classification:Classification",
            "accuracy, F1, calibration and confusion matrix of a classifier",
            requires=("matplotlib",),
            extra="dlpipe[report]",
            baselines=("core.majority_class", "core.logistic_regression"),
        ),
        EvaluatorSpec(
            "regression",
            "dlpipe.evaluation.regression:Regression",
            "R², absolute and squared errors of predicted numbers",
            requires=("matplotlib",),
            extra="dlpipe[report]",
            baselines=("core.mean", "core.linear_regression"),
        ),
        EvaluatorSpec(
            "lesions",
            "dlpipe.evaluation.lesions:Lesions",
            "accuracy of a residual or highway network without each of its blocks",
            requires=("matplotlib",),
            extra="dlpipe[report]",
        ),
        EvaluatorSpec(
            "metrics",
            "dlpipe.evaluation.named_metrics:Metrics",
            "metrics of scikit-learn for classifiers, by name",
            requires=("scikit-learn",),
            extra="dlpipe[metrics]",
            baselines=("core.majority_class", "core.logistic_regression"),
        ),
    ]


@hookimpl
def dlpipe_callbacks() -> Iterable[CallbackSpec]:
    """Offer the callbacks for any domain."""
    return [
        CallbackSpec(
            "tensorboard",
            "dlpipe.training.tensorboard:TensorBoard",
            "writes all metrics as TensorBoard events",
            requires=("tensorboard",),
            extra="dlpipe[track]",
        ),
        CallbackSpec(
            "wandb",
            "dlpipe.training.wandb:WandB",
            "logs the run to Weights & Biases",
            requires=("wandb",),
            extra="dlpipe[wandb]",
        ),
        CallbackSpec(
            "mlflow",
            "dlpipe.training.mlflow:MLflow",
            "logs the run to MLflow",
            requires=("mlflow-skinny", "sqlalchemy", "alembic"),
            extra="dlpipe[mlflow]",
        ),
    ]


@hookimpl
def dlpipe_commands() -> Iterable[CommandSpec]:
    """Offer the commands of dlpipe."""
    return [
        CommandSpec("run", "dlpipe.commands.run:run", "Train and evaluate a pipeline in a new run folder"),
        CommandSpec("resume", "dlpipe.commands.resume:resume", "Resume an interrupted run from its last checkpoint"),
        CommandSpec("sweep", "dlpipe.commands.sweep:sweep", "Run all trials of a pipeline's [sweep] and compare them"),
        CommandSpec("compare", "dlpipe.commands.compare:compare", "Compare runs, and say whether they really differ"),
        CommandSpec("submit", "dlpipe.commands.submit:submit", "Train and evaluate a pipeline in a job of Slurm"),
        CommandSpec("coach", "dlpipe.commands.coach:coach", "Say what is wrong with a training, and what to try"),
        CommandSpec("runs", "dlpipe.commands.runs:runs", "List all runs with their scores, or delete useless ones"),
        CommandSpec("evaluate", "dlpipe.commands.evaluate:evaluate", "Evaluate a trained model on a split of its data"),
        CommandSpec("predict", "dlpipe.commands.predict:predict", "Apply a trained model to new inputs"),
        CommandSpec("report", "dlpipe.commands.report:report", "Write the report of a run: an HTML page and Markdown"),
        CommandSpec("export", "dlpipe.commands.export:export", "Export a trained model for use without dlpipe"),
        CommandSpec("serve", "dlpipe.commands.serve:serve", "Answer requests over HTTP with a trained model"),
        CommandSpec("check", "dlpipe.commands.check:check", "Report all mistakes of a pipeline without running it"),
        CommandSpec("plan", "dlpipe.commands.plan:plan", "Measure a few steps, and say what a run will take"),
        CommandSpec("list", "dlpipe.commands.list:list_", "List installed components, or the pipelines of dlpipe"),
        CommandSpec("show", "dlpipe.commands.show:show", "Show a pipeline with all defaults, or a component"),
        CommandSpec("new", "dlpipe.commands.new:new", "Create a pipeline from one of dlpipe, or a plugin"),
        CommandSpec("plugins", "dlpipe.commands.plugins:plugins", "List the installed plugins and their status"),
        CommandSpec("doctor", "dlpipe.commands.doctor:doctor", "Examine the installation, or what a pipeline needs"),
        CommandSpec("schema", "dlpipe.commands.schema:schema", "Print a JSON Schema of pipeline files for editors"),
    ]


@hookimpl
def dlpipe_rules() -> Iterable[RuleSpec]:
    """Offer rules about minimizing a loss over examples, in the order of the recipe: faults first."""
    return [
        RuleSpec("nan", "dlpipe.coach.rules:failed", "a loss that became NaN"),
        RuleSpec("diverging", "dlpipe.coach.rules:diverged", "a training loss that grows"),
        RuleSpec("unscaled-inputs", "dlpipe.coach.rules:unscaled_inputs", "inputs that are large numbers"),
        RuleSpec(
            "vanishing-gradients", "dlpipe.coach.rules:vanishing_gradients", "first layers that get hardly any gradient"
        ),
        RuleSpec("dead-units", "dlpipe.coach.rules:silent_units", "rectified units that are 0 for every example"),
        RuleSpec(
            "saturated-units", "dlpipe.coach.rules:saturated_units", "activations whose outputs are at their bounds"
        ),
        RuleSpec(
            "no-gradient", "dlpipe.coach.rules:no_gradient", "parameters that are to be trained, but have no gradient"
        ),
        RuleSpec(
            "loss",
            "dlpipe.coach.rules:classes_by_squared_error",
            "a classifier that learns badly, and minimizes the squared error",
        ),
        RuleSpec(
            "few-steps",
            "dlpipe.coach.rules:few_steps",
            "epochs of so few steps that training is over before it has begun",
        ),
        RuleSpec(
            "no-progress",
            "dlpipe.coach.rules:stuck",
            "a loss that has hardly fallen, or weights that have hardly moved",
        ),
        RuleSpec("unfinished", "dlpipe.coach.rules:unfinished", "a training loss that was still falling at the end"),
        RuleSpec("plateau", "dlpipe.coach.rules:plateau", "a training loss that has stopped falling too early"),
        RuleSpec("rising", "dlpipe.coach.rules:rising", "a score on dev that was still getting better at the end"),
        RuleSpec("imbalance", "dlpipe.coach.rules:imbalanced", "one class that has most examples"),
        RuleSpec("late", "dlpipe.coach.rules:late", "a score on dev that was better before"),
        RuleSpec(
            "overfitting", "dlpipe.coach.rules:overfitted", "a model that learns what only its training examples have"
        ),
        RuleSpec("no-gain", "dlpipe.coach.rules:no_gain", "a score no better than without training", fallback=True),
    ]
