"""For data components and trainers: columns, batches, files, digests, calling a model with a batch, its answers."""

from dlpipe.config.application import require_new_default
from dlpipe.data.batches import Batches, EndlessBatches
from dlpipe.data.class_answers import class_answer, sequence_answer
from dlpipe.data.columns import Columns, Prepare, Ragged
from dlpipe.data.decoding import decode_text, refuse_nul, undecodable
from dlpipe.data.download import Download, fetch
from dlpipe.data.file_store import Files, FolderFiles, TarFiles, open_files, open_tar
from dlpipe.data.held_out import stratified_fold, stratified_sample
from dlpipe.data.item_files import expand_folder
from dlpipe.data.model_caller import ModelCaller, columns_needed, own_method, tensors_in
from dlpipe.data.split_names import split_named
from dlpipe.data.split_report import in_both
from dlpipe.data.targets import IGNORE_INDEX, count_targets
from dlpipe.items import FailedItem
from dlpipe.runs.atomic import require_new
from dlpipe.runs.file_digests import file_digests
from dlpipe.runs.file_manifest import FileManifest, cache_folder, file_state

__all__ = [
    "IGNORE_INDEX",
    "Batches",
    "Columns",
    "Download",
    "EndlessBatches",
    "FailedItem",
    "FileManifest",
    "Files",
    "FolderFiles",
    "ModelCaller",
    "Prepare",
    "Ragged",
    "TarFiles",
    "cache_folder",
    "class_answer",
    "columns_needed",
    "count_targets",
    "decode_text",
    "expand_folder",
    "fetch",
    "file_digests",
    "file_state",
    "in_both",
    "open_files",
    "open_tar",
    "own_method",
    "refuse_nul",
    "require_new",
    "require_new_default",
    "sequence_answer",
    "split_named",
    "stratified_fold",
    "stratified_sample",
    "tensors_in",
    "undecodable",
]
