# Five laboratories joined, one of them left out and tested: --split without_<name>. As
# half otherwise, with cells drawn evenly by laboratory and class, at one scale. PBC's
# outlines were drawn by a model that knows BCISC; where BCISC is tested, add
# --cfg-options train_dataloader.dataset.dataset.drawn_only=True.
_base_ = './half.py'
protocol = 'labs'
_names = ['bcisc', 'pbc', 'bccd', 'segmentation_wbc_1', 'segmentation_wbc_2']
_cells = dict(name=None, names=_names, split='without_bcisc')

train_dataloader = dict(
    dataset=dict(class_balanced=True, red_cell_px={}, dataset=_cells))
test_dataloader = dict(dataset=dict(red_cell_px={}, dataset=_cells))
