# The CBAM U-Net with both gates of its CBAM side by side; the paper's section 2.2 finds
# them best in series.
_base_ = ['../cbam_unet.py']
variant = 'parallel'

model = dict(neck=dict(gates='parallel'))
