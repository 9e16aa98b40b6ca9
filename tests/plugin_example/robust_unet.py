# CBAM U-Net with a loss for doubtful labels, on colour-balanced cells.
method = "robust_unet"

_enhance = dict(type="leuko_mm.GreyWorld")

model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size_divisor=16,
        test_cfg=dict(size_divisor=16),
    ),
    backbone=dict(type="leuko_mm.VGG", depth=16, width=0.25),
    neck=dict(type="leuko_mm.CBAMSkipNeck", in_channels=[16, 32, 64, 128, 128]),
    decode_head=dict(
        type="leuko_mm.UNetHead",
        in_channels=[16, 32, 64, 128, 128],
        channels=[64, 32, 16, 16],
        norm_cfg=dict(type="BN"),
        num_classes=6,
        loss_decode=[dict(type="leuko_mm.GeneralisedCrossEntropy", q=0.5)],
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)

train_dataloader = dict(dataset=dict(enhance=_enhance))
test_dataloader = dict(dataset=dict(enhance=_enhance))
