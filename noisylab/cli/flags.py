"""The commands and the flags of each, for the parser, the help texts and shell completion. Imports nothing that takes time."""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["COMMANDS", "FLAGS", "GROUPS", "Command", "Flag", "flags_of"]


@dataclass(frozen=True)
class Flag:
    """One of noisylab's own flags, as opposed to the values of a recipe.

    Args:
        help: what it does.
        value: what stands for its value in help texts; empty for a switch, which takes none.
        repeated: whether it may be given several times.
        path: whether its value is a file or folder.
    """

    help: str
    value: str = ""
    repeated: bool = False
    path: bool = False


@dataclass(frozen=True)
class Command:
    """A command.

    Args:
        summary: what it does, in a line.
        example: how it is called.
        flags: names among `FLAGS`; it takes these and no others.
        recipe: whether it also takes the values of a recipe as flags.
        places: what stands for the values that need no flag; empty where there are none.
    """

    summary: str
    example: str
    flags: tuple[str, ...] = ()
    recipe: bool = True
    places: str = ""


FLAGS = {
    "config": Flag("a recipe or a YAML file; may be repeated, later ones win", "FILE", repeated=True, path=True),
    "row": Flag("a row of the recipe, which changes a few of its values; noisylab recipes lists them", "NAME"),
    "run_dir": Flag("folder of the run, used as given", "DIR", path=True),
    "resume": Flag("continue the run in --run_dir from its newest readable checkpoint"),
    "overwrite": Flag("replace the run in --run_dir"),
    "rows": Flag("rows of the recipe with commas between them; default all", "NAMES"),
    "seeds": Flag("seeds of the runs with commas between them; default 0,1,2", "NUMBERS"),
    "jobs": Flag("runs that are trained at once, each in a process of its own; default: one after the other in this one", "N"),
    "methods": Flag("methods to compare with commas between them; default CE,GCE,ELR,CoTeaching,ACT,DivideMix", "NAMES"),
    "epochs": Flag("give each method so many epochs, whatever they cost", "N"),
    "compute": Flag("give each method as much as so many epochs of cross-entropy cost; the default, with a number chosen", "N"),
    "noise": Flag("noise to add, with commas between several: sym40, pair40, or none", "NAMES"),
    "eta": Flag("of n methods, the best n/ETA go on at each comparison; default 2", "ETA"),
    "keep_held_out": Flag("keep the held-out rows out of the final run, too, which is then the one that won"),
    "val_fraction": Flag("share of the rows that is held out, with the labels they have; default 0.1", "FRACTION"),
    "folds": Flag("number of parts that the training rows are divided into; default data.folds of the recipe", "K"),
    "trust": Flag(
        "a module whose classes recipes and run folders may name, as mynet for mynet.MyNet; remembered; may be repeated",
        "MODULE",
        repeated=True,
    ),
    "dry_run": Flag("do everything but train, print the plan, write nothing"),
    "print_config": Flag("print the whole configuration and stop; --print_config=skip_default leaves out defaults"),
    "logger": Flag(
        "tensorboard, wandb, mlflow or trackio, beside the CSV file that is always written; may be repeated",
        "NAME",
        repeated=True,
    ),
    "images": Flag("folder of pictures", "DIR", path=True),
    "labels": Flag(
        "table with the columns file and label, a JSON export of Label Studio, or a COCO file; without it each folder below "
        "--images is a class",
        "FILE",
        path=True,
    ),
    "arrays": Flag("an .npz file with x and y, or a folder with x.npy and y.npy", "FILE", path=True),
    "dataset": Flag(
        "a table of texts, numbers, pictures or sound: parquet, CSV, JSON lines or a saved data set", "PATH", path=True
    ),
    "label": Flag("column of --dataset that holds the labels; guessed where there is one choice, and said", "COLUMN"),
    "text": Flag("column of texts to train on", "COLUMN"),
    "image": Flag("column of pictures to train on", "COLUMN"),
    "audio": Flag("column of sound to train on", "COLUMN"),
    "features": Flag("columns of numbers, categories or vectors to train on, with commas between them", "COLUMNS"),
    "split": Flag("split of --dataset to train on; default train, or the only one", "NAME"),
    "id": Flag("column of names of the rows, by which corrections find back", "COLUMN"),
    "run": Flag("a finished run, to describe its labels or to apply corrections", "DIR", path=True),
    "backbone": Flag(
        "pretrained network whose features are trained on: auto, none, efficientnet_lite0 or torchvision:NAME", "NAME"
    ),
    "file_column": Flag("column of --labels that names the files; default file", "NAME"),
    "label_column": Flag("column of --labels that holds the labels; default label", "NAME"),
    "skip_unreadable": Flag("leave out pictures that cannot be read, and name them"),
    "pictures": Flag("how many of the first rows have a picture or a player in issues.html; default 1000", "N"),
    "crossfit": Flag(
        "number of folds; trains once more for each, for pred_probs.npy: out-of-sample probabilities for cleanlab", "K"
    ),
    "accepted": Flag("the list of corrections that issues.html offers as a download", "FILE", path=True),
    "top": Flag("instead of --accepted, the surest suggestions, as 5% or a number", "N"),
    "to": Flag("the tool to write for: label-studio, fiftyone, spotlight or csv", "FORMAT"),
    "out": Flag(
        "file to write: predictions.csv of predict, the figure of compare, the corrected labels of issues apply",
        "FILE",
        path=True,
    ),
    "best": Flag("show the best test epoch, too, marked as chosen on the test set: an upper bound, no result"),
    "checkpoint": Flag("the checkpoint of --run_dir to use: last, best or label_wave", "NAME"),
    "shard_mb": Flag("size of a shard in MiB; default 64", "N"),
    "keep_order": Flag("pack the rows in the order they are read, instead of a random one"),
    "root": Flag("folder of the data set's files, as data.root of a recipe names it", "DIR", path=True),
    "search": Flag(
        "a value that is searched: KEY=log:1e-4..1e-1, KEY=0.1..0.9, KEY=int:1..8 or KEY=1,3,7; may be repeated",
        "KEY=VALUES",
        repeated=True,
    ),
    "trials": Flag("number of trials; default 20", "N"),
    "objective": Flag("metric that trials are compared by; default val/acc, on held-out noisy labels", "NAME"),
    "sampler": Flag("tpe, which learns from the trials before, or random", "NAME"),
    "pruner": Flag("median, hyperband or none: what stops trials early", "NAME"),
    "storage": Flag("journal, sqlite or the URL of a database, where the trials are kept; default journal", "URL"),
    "cluster": Flag("slurm: submit the workers as jobs (submitit); local: run such jobs on this machine", "NAME"),
    "workers": Flag("number of jobs of --cluster; default 4", "N"),
    "partition": Flag("partition of SLURM; default the cluster's own", "NAME"),
    "time": Flag("minutes of a job, after which it is queued again and goes on; default 240", "MIN"),
    "gpus": Flag("GPUs of a job; default none", "N"),
    "cpus": Flag("CPU cores of a job", "N"),
    "mem": Flag("memory of a job in GB", "GB"),
    "sbatch": Flag("a further option of sbatch, as account=lab; may be repeated", "KEY=VALUE", repeated=True),
    "tolerance": Flag("numbers count as equal up to this difference, relative above 1; default 0, every digit", "T"),
    "moved": Flag("a file or folder of the run's data, and where it is now; may be repeated", "OLD=NEW", repeated=True),
    "entity": Flag("user or team that the project belongs to; default $WANDB_ENTITY", "NAME"),
    "project": Flag("the project; default $WANDB_PROJECT, else noisylab", "NAME"),
    "group": Flag("only the runs of this group, as the name of a study", "NAME"),
    "rank_timeout": Flag(
        "where torchrun or srun has started several processes: end the run when one has given no sign of life for so long; "
        "default 120",
        "SECONDS",
    ),
}

_TRAINING = ("config", "row", "run_dir", "resume", "overwrite", "dry_run", "print_config", "logger", "trust")
_TABLE = ("dataset", "label", "text", "image", "audio", "features", "split", "id")
_RANKS = ("rank_timeout",)
_CLUSTER = ("cluster", "workers", "partition", "time", "gpus", "cpus", "mem", "sbatch")
_FINISHED = ("run_dir", "config", "row", "checkpoint", "trust")
_LABELS = (
    "images",
    "labels",
    "arrays",
    *_TABLE,
    "run",
    "backbone",
    "file_column",
    "label_column",
    "skip_unreadable",
    "pictures",
    "crossfit",
)

COMMANDS = {
    "fit": Command(
        "train a method on a data set", "noisylab fit --config act_digits.yaml", (*_TRAINING, *_TABLE, "rank_timeout")
    ),
    "folds": Command(
        "train once for each fold as the test set: mean and deviation",
        "noisylab folds --config RECIPE.yaml --folds 5",
        (*_TRAINING, *_TABLE, "folds"),
    ),
    "study": Command(
        "train methods x noises x seeds, or all rows of a recipe, and print one table",
        "noisylab study STUDY.yaml --jobs 2",
        ("config", "rows", "seeds", "jobs", *_CLUSTER, "run_dir", "resume", "dry_run", "logger", "trust"),
        places="STUDY.yaml",
    ),
    "study status": Command(
        "say how far a study has come, what failed and why, and how long the rest will take",
        "noisylab study status DIR",
        recipe=False,
        places="DIR ...",
    ),
    "sweep": Command(
        "search the values of a recipe that do best on held-out noisy labels (Optuna)",
        "noisylab sweep --config elr_digits.yaml --search model.regularization=1,3,7 --trials 20",
        (
            *("config", "row", "search", "trials", "jobs", "objective", "sampler", "pruner", "storage"),
            *("run_dir", "resume", "dry_run", "logger", "trust", *_TABLE),
        ),
        places="[SWEEP.yaml]",
    ),
    "issues": Command(
        "find out which labels are wrong",
        "noisylab issues --images DIR --labels labels.csv",
        (*_LABELS, *_TRAINING, "rank_timeout"),
    ),
    "issues apply": Command(
        "write the labels with the corrections that you accepted",
        "noisylab issues apply --run DIR --accepted accepted.csv --out labels_fixed.csv",
        ("run", "accepted", "top", "out"),
        recipe=False,
    ),
    "issues export": Command(
        "write the ranked labels for Label Studio, FiftyOne or Spotlight",
        "noisylab issues export --run DIR --to spotlight --out issues.parquet",
        ("run", "to", "top", "out"),
        recipe=False,
    ),
    "compare-methods": Command(
        "compare methods with sound settings on your own data, at equal compute",
        "noisylab compare-methods --images DIR --labels labels.csv --seeds 3",
        (
            *(name for name in _LABELS if name not in ("run", "pictures", "crossfit")),
            *("methods", "seeds", "epochs", "compute", "noise", "val_fraction"),
            *("config", "row", "run_dir", "resume", "jobs", "dry_run", "logger", "trust"),
        ),
    ),
    "auto": Command(
        "choose a method for your own data without clean labels, say how sure that is, and train it",
        "noisylab auto --images DIR --labels labels.csv",
        (
            *(name for name in _LABELS if name not in ("run", "pictures", "crossfit")),
            *("methods", "epochs", "compute", "val_fraction", "eta", "keep_held_out"),
            *("config", "row", "run_dir", "resume", "dry_run", "logger", "trust"),
        ),
    ),
    "validate": Command(
        "evaluate a finished run on its validation and test data",
        "noisylab validate --run_dir DIR",
        (*_FINISHED, "rank_timeout"),
    ),
    "test": Command("evaluate a finished run on its test data", "noisylab test --run_dir DIR", (*_FINISHED, "rank_timeout")),
    "predict": Command(
        "predict the classes of new pictures or rows, or of the test set",
        "noisylab predict --run_dir DIR --images FOLDER",
        (*_FINISHED, "images", "dataset", "split", "skip_unreadable", "out", "overwrite"),
    ),
    "rerun": Command(
        "repeat a finished run in a new folder, and say whether the numbers are equal",
        "noisylab rerun runs/act_digits/TIME",
        ("run_dir", "resume", "overwrite", "tolerance", "moved", "logger", "trust", "rank_timeout"),
        recipe=False,
        places="RUN_DIR",
    ),
    "compare": Command(
        "table and figure of finished runs",
        "noisylab compare DIR DIR --out curves.png",
        ("out", "overwrite"),
        recipe=False,
        places="DIR ...",
    ),
    "report": Command(
        "one page about finished runs or a study, to read, print and hand on",
        "noisylab report DIR --out report.html",
        ("out", "best", "overwrite"),
        recipe=False,
        places="DIR ...",
    ),
    "dashboard": Command(
        "lay out a project of Weights & Biases in noisylab's sections",
        "noisylab dashboard wandb --entity NAME --project P",
        ("entity", "project", "group", "dry_run"),
        recipe=False,
        places="wandb",
    ),
    "data check": Command(
        "say whether the files of a published data set are complete and the right ones",
        "noisylab data check CIFARN --root data",
        ("root",),
        recipe=False,
        places="NAME",
    ),
    "data pack": Command(
        "pack pictures or arrays into shards, for data that does not fit in memory (class Shards)",
        "noisylab data pack --images DIR --labels labels.csv --out DIR",
        ("images", "labels", "arrays", "file_column", "label_column", "skip_unreadable", "shard_mb", "keep_order", "out"),
        recipe=False,
    ),
    "recipes": Command("list the packaged recipes and their rows", "noisylab recipes", recipe=False),
    "completion": Command(
        "print a script that completes commands, flags and recipes in bash, zsh or tcsh",
        'eval "$(noisylab completion bash)"',
        recipe=False,
        places="SHELL",
    ),
}

# first words that are no command without a second one, with what they have in common
GROUPS = {"data": "files of data sets"}

_WORDS = {  # what a flag does in one command, where another says more than that
    ("study", "config"): "a recipe with rows; further files go on top of it, for all rows",
    ("study", "run_dir"): "folder of the study, with a folder for each run",
    ("study", "resume"): "continue the study in --run_dir: finished runs are kept, stopped ones resumed",
    ("study", "dry_run"): "print the plan of the first run and the list of all, train nothing",
    ("sweep", "run_dir"): "folder of the sweep, with a folder trial-0000 for each trial",
    ("sweep", "resume"): "continue the sweep in --run_dir, or help with it: finished trials are kept, stopped ones resumed",
    ("sweep", "jobs"): "number of workers, each a process of its own; default 1, this one",
    ("sweep", "dry_run"): "print the plan of the first trial and what is searched, train nothing",
    ("compare-methods", "images"): "folder of the pictures",
    ("compare-methods", "config"): "a recipe that names the data, and perhaps a network; may be repeated",
    ("compare-methods", "seeds"): "how many seeds, or the seeds with commas between them; default 3",
    ("compare-methods", "resume"): "continue the comparison in --run_dir: finished runs are kept, stopped ones resumed",
    ("compare-methods", "run_dir"): "folder of the study, with a folder METHOD/seedSEED for each run",
    ("compare-methods", "dry_run"): "print the plan with the time it takes, train nothing",
    ("auto", "images"): "folder of the pictures",
    ("auto", "config"): "a recipe that names the data, and perhaps a network; may be repeated",
    ("auto", "methods"): "methods to choose from with commas between them; default CE,GCE,ELR,CoTeaching,ACT,DivideMix",
    ("auto", "resume"): "continue the choice in --run_dir, which goes on as it began",
    ("auto", "run_dir"): "folder of the choice, with a folder METHOD/seedSEED for each run, and final",
    ("auto", "dry_run"): "print how long each method trains before the better half goes on, train nothing",
    ("issues", "images"): "folder of the pictures",
    ("issues", "run"): "a finished run, whose labels are to be described; nothing is trained",
    ("issues apply", "run"): "the run that found the wrong labels",
    ("issues apply", "out"): "file of the corrected labels, a new one",
    ("issues export", "run"): "the run that ranked the labels",
    ("issues export", "top"): "only the first rows of the list, as 5% or a number",
    ("issues export", "out"): "file to write, a new one: .json for label-studio, .parquet for spotlight, else .csv",
    ("data pack", "out"): "folder of the pack, a new one",
    ("predict", "images"): "folder of pictures without labels",
    ("predict", "dataset"): "a table of new rows, with the columns that the model was trained on",
    ("predict", "split"): "split of --dataset to predict; needed where it has several",
    ("predict", "out"): "file of the predictions; default predictions.csv in the run folder",
    ("predict", "overwrite"): "replace the file of --out, if noisylab wrote it",
    ("rerun", "run_dir"): "folder of the repetition; default a new one",
    ("rerun", "resume"): "finish the repetition in --run_dir, if it is not finished, and compare it",
    ("rerun", "overwrite"): "replace the run in --run_dir, which is not the one that is repeated",
    ("compare", "out"): "file of the figure, a PNG; default curves.png",
    ("compare", "overwrite"): "replace the file of --out, if noisylab wrote it",
    ("dashboard", "dry_run"): "list the sections and their charts, send nothing",
    ("report", "out"): "file of the page, .html or, with its figures as PNG files beside it, .md; default report.html",
    ("report", "overwrite"): "replace the file of --out, and the figures beside it, if noisylab wrote them",
}


def flags_of(command: str) -> dict[str, Flag]:
    """The flags of a command by name, with their help."""
    found = {name: FLAGS[name] for name in COMMANDS[command].flags}
    return {name: replace(flag, help=_WORDS.get((command, name), flag.help)) for name, flag in found.items()}
