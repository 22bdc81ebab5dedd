"""A small member of every family of torchvision's classifiers: few channels, the architecture of the large ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn
from torchvision.models import (
    AlexNet,
    convnext,
    densenet,
    efficientnet,
    inception,
    maxvit,
    mnasnet,
    mobilenetv2,
    mobilenetv3,
    regnet,
    resnet,
    shufflenetv2,
    squeezenet,
    swin_transformer as swin,
    vgg,
    vision_transformer as vit,
)
from torchvision.models.googlenet import BasicConv2d, Inception


def with_small_classifier(model: nn.Module, features: int) -> nn.Module:
    """Give AlexNet or VGG a classifier of 16 units in place of 4096; its form stays."""
    layers = [i for i, module in enumerate(model.classifier) if isinstance(module, nn.Linear)]
    for i, given, made in zip(layers, (features, 16, 16), (16, 16, 4), strict=True):
        model.classifier[i] = nn.Linear(given, made)
    return model


def with_head(width: int, *blocks: nn.Module) -> nn.Module:
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4))


def mobile_v3() -> nn.Module:
    row = partial(mobilenetv3.InvertedResidualConfig, dilation=1, width_mult=1.0)
    rows = [row(8, 3, 16, 8, True, "RE", 2), row(8, 3, 16, 8, False, "HS", 1), row(8, 5, 16, 16, True, "HS", 2)]
    return mobilenetv3.MobileNetV3(rows, last_channel=32, num_classes=4)


def small_mnasnet() -> nn.Module:
    """Return a net whose running statistics follow at once: at its own momentum of 0.0003 two steps do not show."""
    model = mnasnet.MNASNet(0.1, 4)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.5
    return model


def efficient() -> nn.Module:
    rows = [efficientnet.MBConvConfig(1, 3, 1, 8, 8, 1, 1, 1), efficientnet.MBConvConfig(4, 3, 2, 8, 16, 2, 1, 1)]
    return efficientnet.EfficientNet([*rows, efficientnet.FusedMBConvConfig(4, 3, 1, 16, 16, 2)], 0.1, num_classes=4)


block = convnext.CNBlockConfig


def reg(se_ratio: float | None) -> nn.Module:
    params = regnet.BlockParams([1, 2], [8, 16], [4, 4], [1, 1], [2, 2], se_ratio)
    return regnet.RegNet(params, num_classes=4)


FAMILIES: dict[str, tuple[Callable[[], nn.Module], int, str]] = {
    # name: builder, size of an image, what becomes of it as it is
    "alexnet": (lambda: with_small_classifier(AlexNet(4), 256 * 36), 64, "changed"),
    "vgg": (
        lambda: with_small_classifier(vgg.VGG(vgg.make_layers([8, "M", 16, "M"]), 4, False), 16 * 49), 16, "changed",
    ),
    "squeezenet": (lambda: squeezenet.SqueezeNet("1_1", 4), 32, "changed"),
    "resnet": (lambda: resnet.ResNet(resnet.BasicBlock, [2, 1, 1, 1], 4), 32, "same"),
    "resnext": (lambda: resnet.ResNet(resnet.Bottleneck, [1, 1, 1, 1], 4, groups=4, width_per_group=2), 32, "same"),
    "densenet": (lambda: densenet.DenseNet(4, (2, 2), 8, 2, num_classes=4), 32, "same"),
    "inception": (
        lambda: with_head(232, inception.BasicConv2d(3, 8, kernel_size=3), inception.InceptionA(8, 8)), 16, "same",
    ),
    "googlenet": (
        lambda: with_head(32, BasicConv2d(3, 8, kernel_size=3), Inception(8, 8, 8, 8, 8, 8, 8)),
        16,
        "same",
    ),
    "shufflenet": (lambda: shufflenetv2.ShuffleNetV2([1, 2, 1], [8, 16, 32, 32, 64], 4), 64, "same"),
    "mobilenet_v2": (
        lambda: mobilenetv2.MobileNetV2(4, 0.25, [[1, 8, 1, 1], [6, 16, 2, 2]]), 32, "same",
    ),
    "mobilenet_v3": (mobile_v3, 32, "changed"),
    "mnasnet": (small_mnasnet, 32, "same"),
    "efficientnet": (efficient, 32, "same"),
    "regnet_x": (lambda: reg(None), 32, "same"),
    "regnet_y": (lambda: reg(0.25), 32, "same"),
    "convnext": (
        lambda: convnext.ConvNeXt([block(8, 16, 1), block(16, None, 2)], num_classes=4), 32, "changed",
    ),
    "vit": (lambda: vit.VisionTransformer(16, 8, 2, 2, 16, 32, num_classes=4), 16, "changed"),
    "swin": (lambda: swin.SwinTransformer([4, 4], 8, [2, 1], [2, 2], [2, 2], num_classes=4), 16, "changed"),
    "swin_v2": (
        lambda: swin.SwinTransformer(
            [4, 4], 8, [2, 1], [2, 2], [2, 2], num_classes=4, block=swin.SwinTransformerBlockV2,
            downsample_layer=swin.PatchMergingV2,
        ),
        16,
        "changed",
    ),
    "maxvit": (lambda: maxvit.MaxVit((32, 32), 8, 4, [8, 16], [1, 1], 4, 0.1, num_classes=4), 32, "changed"),
}  # fmt: skip
ATTENTION = ("vit", "swin", "maxvit")  # the others are convolutional
