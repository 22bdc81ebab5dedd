"""The rules, in the order of their codes; a new one is imported and listed here."""

from __future__ import annotations

from lightning_diag.rules.accidentally_frozen import AccidentallyFrozen
from lightning_diag.rules.activation_explosion import ActivationExplosion
from lightning_diag.rules.batch_size import BatchSize
from lightning_diag.rules.batch_too_small_for_batchnorm import BatchTooSmallForBatchnorm
from lightning_diag.rules.cancelled_bias import CancelledBias
from lightning_diag.rules.class_imbalance import ClassImbalance
from lightning_diag.rules.clipping_always_active import ClippingAlwaysActive
from lightning_diag.rules.collapsed_output import CollapsedOutput
from lightning_diag.rules.constant_feature import ConstantFeature
from lightning_diag.rules.dead_units import DeadUnits
from lightning_diag.rules.decay_on_norm_and_bias import DecayOnNormAndBias
from lightning_diag.rules.exploding_gradients import ExplodingGradients
from lightning_diag.rules.gradients_never_cleared import GradientsNeverCleared
from lightning_diag.rules.initial_loss_off import InitialLossOff
from lightning_diag.rules.labels_independent_of_input import LabelsIndependentOfInput
from lightning_diag.rules.learning_rate_too_high import LearningRateTooHigh
from lightning_diag.rules.learning_rate_too_low import LearningRateTooLow
from lightning_diag.rules.logits_for_probabilities import LogitsForProbabilities
from lightning_diag.rules.loss_diverging import LossDiverging
from lightning_diag.rules.loss_not_decreasing import LossNotDecreasing
from lightning_diag.rules.loss_oscillating import LossOscillating
from lightning_diag.rules.loss_scale import LossScale
from lightning_diag.rules.loss_scale_collapse import LossScaleCollapse
from lightning_diag.rules.loss_target_mismatch import LossTargetMismatch
from lightning_diag.rules.missing_nonlinearity import MissingNonlinearity
from lightning_diag.rules.module_in_eval_mode import ModuleInEvalMode
from lightning_diag.rules.module_in_train_mode import ModuleInTrainMode
from lightning_diag.rules.negative_loss import NegativeLoss
from lightning_diag.rules.no_gradient import NoGradient
from lightning_diag.rules.noisy_gradient import NoisyGradient
from lightning_diag.rules.non_finite_activation import NonFiniteActivation
from lightning_diag.rules.non_finite_gradient import NonFiniteGradient
from lightning_diag.rules.non_finite_input import NonFiniteInput
from lightning_diag.rules.non_finite_loss import NonFiniteLoss
from lightning_diag.rules.not_shuffled import NotShuffled
from lightning_diag.rules.output_range import OutputRange
from lightning_diag.rules.over_regularization import OverRegularization
from lightning_diag.rules.overfitting import Overfitting
from lightning_diag.rules.parameter_never_updated import ParameterNeverUpdated
from lightning_diag.rules.parameter_not_in_optimizer import ParameterNotInOptimizer
from lightning_diag.rules.plateau_at_constant_rate import PlateauAtConstantRate
from lightning_diag.rules.poor_initialization import PoorInitialization
from lightning_diag.rules.repeated_samples import RepeatedSamples
from lightning_diag.rules.replicas_differ import ReplicasDiffer
from lightning_diag.rules.representation_collapse import RepresentationCollapse
from lightning_diag.rules.rule import Rule
from lightning_diag.rules.running_statistics import RunningStatistics
from lightning_diag.rules.samples_mixed import SamplesMixed
from lightning_diag.rules.saturated_units import SaturatedUnits
from lightning_diag.rules.schedule_mismatch import ScheduleMismatch
from lightning_diag.rules.sigmoid_before_bce_with_logits import SigmoidBeforeBceWithLogits
from lightning_diag.rules.signed_inputs import SignedInputs
from lightning_diag.rules.softmax_before_cross_entropy import SoftmaxBeforeCrossEntropy
from lightning_diag.rules.stopped_too_early import StoppedTooEarly
from lightning_diag.rules.symmetric_units import SymmetricUnits
from lightning_diag.rules.target_broadcast import TargetBroadcast
from lightning_diag.rules.target_leak import TargetLeak
from lightning_diag.rules.target_scale import TargetScale
from lightning_diag.rules.train_validation_input_shift import TrainValidationInputShift
from lightning_diag.rules.train_validation_overlap import TrainValidationOverlap
from lightning_diag.rules.underfitting import Underfitting
from lightning_diag.rules.unnormalized_input import UnnormalizedInput
from lightning_diag.rules.unregistered_parameters import UnregisteredParameters
from lightning_diag.rules.update_too_large import UpdateTooLarge
from lightning_diag.rules.update_too_small import UpdateTooSmall
from lightning_diag.rules.validation_better_than_training import ValidationBetterThanTraining
from lightning_diag.rules.vanishing_gradients import VanishingGradients
from lightning_diag.rules.waiting_for_data import WaitingForData
from lightning_diag.rules.weight_growth import WeightGrowth
from lightning_diag.rules.wrong_sign import WrongSign

RULES: tuple[type[Rule], ...] = (
    DeadUnits,
    SaturatedUnits,
    NonFiniteActivation,
    ActivationExplosion,
    CollapsedOutput,
    RepresentationCollapse,
    MissingNonlinearity,
    SignedInputs,
    VanishingGradients,
    ExplodingGradients,
    NonFiniteGradient,
    NoGradient,
    ClippingAlwaysActive,
    NoisyGradient,
    UpdateTooLarge,
    UpdateTooSmall,
    ParameterNeverUpdated,
    ParameterNotInOptimizer,
    UnregisteredParameters,
    SymmetricUnits,
    WeightGrowth,
    PoorInitialization,
    InitialLossOff,
    NonFiniteLoss,
    LossNotDecreasing,
    LossDiverging,
    LossOscillating,
    NegativeLoss,
    WrongSign,
    StoppedTooEarly,
    PlateauAtConstantRate,
    Overfitting,
    Underfitting,
    ValidationBetterThanTraining,
    TrainValidationOverlap,
    RunningStatistics,
    TrainValidationInputShift,
    NonFiniteInput,
    UnnormalizedInput,
    ConstantFeature,
    TargetScale,
    ClassImbalance,
    NotShuffled,
    RepeatedSamples,
    LabelsIndependentOfInput,
    TargetLeak,
    SoftmaxBeforeCrossEntropy,
    SigmoidBeforeBceWithLogits,
    LogitsForProbabilities,
    OutputRange,
    LossTargetMismatch,
    TargetBroadcast,
    LossScale,
    LearningRateTooHigh,
    LearningRateTooLow,
    GradientsNeverCleared,
    ScheduleMismatch,
    BatchSize,
    ModuleInEvalMode,
    ModuleInTrainMode,
    AccidentallyFrozen,
    OverRegularization,
    DecayOnNormAndBias,
    LossScaleCollapse,
    SamplesMixed,
    BatchTooSmallForBatchnorm,
    CancelledBias,
    ReplicasDiffer,
    WaitingForData,
)

# Judged at every sample: what must not wait.
TRIPWIRES: tuple[type[Rule], ...] = (NonFiniteActivation, ExplodingGradients, NonFiniteGradient, NonFiniteLoss)
