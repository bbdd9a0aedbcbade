"""Every name written to MLflow or read from it: one place, so that a reader finds the writer.

Scalars of a training run are stepped by clips seen; scalars of an evaluation have no step.
Units are part of the name where there is one (`_db`, `_s`).
"""

# `data_pipeline` reads this tag: a data set that is referred to is not removed.
from data_pipeline.format.provenance import DATA_DIGEST as DATA_DIGEST

EXPERIMENT = "sttn"
MODEL = "sttn"

# Splits of a data set.
TRAINING_SPLIT = "train"  # trained on
HELD_OUT_SPLIT = "test"  # never trained on

# Aliases of the registered model.
CANDIDATE = "candidate"  # newest version to evaluate, set by training
CHAMPION = "champion"  # the version people use, moved by promotion only
PREVIOUS = "previous"  # the champion before, the target of a rollback

# Tag of a run: what kind of work it records.
KIND = "kind"
KIND_TRAINING = "training"
KIND_EVALUATION = "evaluation"
KIND_DECISION = "decision"
KIND_IMPORT = "import"
KIND_EXPORT = "export"  # in place of a training run that MLflow does not have any more

# Tags of a run and of a registered version.
RUN_ID = "run_id"
RUN_NAME = "run_name"
CLIPS = "clips"
DATA_URI = "data_uri"
COMMIT = "commit"
CONFIG_DIGEST = "config_digest"
CODE_DIGEST = "code_digest"
WEIGHTS_SHA256 = "weights_sha256"
IMAGE = "image"
HARDWARE = "hardware"
CHECKPOINT = "checkpoint"
LOST_RUN = "lost_run_id"  # of an export: the training run that MLflow did not have

# Tags of an import and of the version it registered.
ORIGIN = "origin"  # where the file of weights came from, as the user says
ORIGIN_SHA256 = "origin_sha256"  # of that file
MASKED_ATTENTION = "masked_attention"

# Tag of a registered version that is never pruned.
PROTECTED = "protected"
# Tag of a registered version whose files are being deleted; it goes last.
DELETING = "deleting"

# Tags of a registered version: its evaluation.
EVALUATION = "evaluation"
EVALUATION_PENDING = "pending"
EVALUATION_DONE = "done"
EVALUATION_FAILED = "failed"
EVALUATION_PROBLEM = "evaluation_problem"  # why it failed
EVALUATION_RUN = "evaluation_run_id"

# Tags of an evaluation run.
PROTOCOL_DIGEST = "protocol_digest"
MODEL_NAME = "model_name"
MODEL_VERSION = "model_version"
AGAINST_VERSION = "against_version"  # NO_VERSION without a champion
NO_VERSION = "none"

# Tags of a decision run.
DECISION = "decision"
DECISION_NUMBER = "decision_number"  # one more than that of the decision before
DECISION_FROM = "from_version"  # the champion before
DECISION_TO = "to_version"  # the champion after
RULE_DIGEST = "rule_digest"
DECISION_PROMOTED = "promoted"
DECISION_REFUSED = "refused"
DECISION_ROLLED_BACK = "rolled back"
REASONS = "reasons"
FLOORS = "floors"  # what the rule compared with; a decision without it knew the trivial ones only
FLOORS_CLASSICAL = "classical"
FLOORS_TRIVIAL = "trivial"

# Scalars of a training run.
LOSS_HOLE = "loss/hole"
LOSS_VALID = "loss/valid"
LOSS_GENERATOR_ADVERSARIAL = "loss/generator_adversarial"
LOSS_DISCRIMINATOR_REAL = "loss/discriminator_real"
LOSS_DISCRIMINATOR_FAKE = "loss/discriminator_fake"
CLIPS_PER_SECOND = "speed/clips_per_s"
DATA_WAIT = "speed/data_wait_share"
CHECKPOINT_WAIT = "speed/checkpoint_wait_share"
VALIDATION_TIME = "speed/validation_share"
TERAFLOPS = "speed/teraflops_per_worker"  # by formula, 1e12 a second; what is computed again is not
UTILISATION = "speed/model_flop_utilisation"  # of what a large product reaches; on GPUs only
LEARNING_RATE = "learning_rate"
VALIDATION_HOLE_PSNR = "validation/hole_psnr_db"
VALIDATION_HOLE_SSIM = "validation/hole_ssim"
# The same of a run whose data set holds no video out: of videos that it learns from.
TRAINING_VIDEOS_HOLE_PSNR = "validation_on_training_videos/hole_psnr_db"
TRAINING_VIDEOS_HOLE_SSIM = "validation_on_training_videos/hole_ssim"
# The same for Prometheus, by way of Ray: one gauge, with the labels `run` and `scalar`.
GAUGE = "sttn_training"
SYSTEM = "system/"  # then the node's name, and what MLflow itself calls it

# Artifacts of a training run.
CONFIG_JSON = "config.json"
VALIDATION_PICTURE = "fixed_clip"
VALIDATION_FOLDER = "validation"
PROFILE_FOLDER = "profile"

# Scalars of an evaluation, for each subject: `<subject>/<column>` is the mean over videos, with
# OVER_FRAMES behind it the mean over all frames. What each is: `columns.py`.
PSNR = "psnr_db"
SSIM = "ssim"
HOLE_PSNR = "hole_psnr_db"
HOLE_SSIM = "hole_ssim"
WARPING_DIS = "warping_error_dis"
WARPING_GIVEN = "warping_error_given"
VFID = "vfid"
SECONDS_PER_FRAME = "seconds_per_frame_s"
OVER_FRAMES = "_over_frames"

# Subjects of an evaluation.
SUBJECT_CANDIDATE = "candidate"
SUBJECT_CHAMPION = "champion"
SUBJECT_FRAME_MEAN = "trivial_frame_mean"
SUBJECT_RING_MEAN = "trivial_ring_mean"
SUBJECT_TELEA = "floor_telea"
SUBJECT_DIFFUSED = "floor_diffused"
SUBJECT_PROPAGATED = "floor_propagated"
# Fills that learn nothing, and the weakest of them. What each is: `floors.py`.
TRIVIAL_SUBJECTS = (SUBJECT_FRAME_MEAN, SUBJECT_RING_MEAN)
CLASSICAL_SUBJECTS = (*TRIVIAL_SUBJECTS, SUBJECT_TELEA, SUBJECT_DIFFUSED, SUBJECT_PROPAGATED)

# Artifacts of an evaluation run.
PROTOCOL_JSON = "protocol.json"
RESULTS_JSON = "results.json"
RESULTS_PARQUET = "results.parquet"  # a row per subject and clip
VIDEOS_PARQUET = "videos.parquet"  # a row per subject and video
DRAWINGS = "drawings"  # <subject>-<position>.png and .mp4
