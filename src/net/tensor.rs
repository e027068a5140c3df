//! 16-bit features.

use ndarray::{Array3, ArrayView3};

use crate::picture::try_filled;
use crate::{Error, Result};

/// Features `[rows][columns][channels]` in one piece of memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tensor(Array3<i16>);

impl Tensor {
    /// Wraps `data`, whose length is the product of the shape.
    pub(crate) fn new(rows: usize, columns: usize, channels: usize, data: Vec<i16>) -> Result<Self> {
        Array3::from_shape_vec((rows, columns, channels), data).map(Self).map_err(|e| Error::Parameter(e.to_string()))
    }

    /// Zeros.
    pub(crate) fn zeros(rows: usize, columns: usize, channels: usize) -> Result<Self> {
        Self::new(rows, columns, channels, try_filled(rows * columns * channels, 0)?)
    }

    pub(crate) fn rows(&self) -> usize {
        self.0.dim().0
    }

    pub(crate) fn columns(&self) -> usize {
        self.0.dim().1
    }

    pub(crate) fn channels(&self) -> usize {
        self.0.dim().2
    }

    /// Numbers in a row.
    pub(crate) fn row_len(&self) -> usize {
        self.columns() * self.channels()
    }

    /// All numbers in order. Tensors of this type are always contiguous.
    pub(crate) fn data(&self) -> &[i16] {
        self.0.as_slice().unwrap_or_default()
    }

    pub(crate) fn data_mut(&mut self) -> &mut [i16] {
        self.0.as_slice_mut().unwrap_or_default()
    }

    pub(crate) fn row(&self, row: usize) -> &[i16] {
        &self.data()[row * self.row_len()..][..self.row_len()]
    }

    /// A copy of some rows.
    pub(crate) fn rows_from(&self, engine: &super::Engine, first: usize, rows: usize) -> Result<Self> {
        let mut copy = engine.tensor(rows, self.columns(), self.channels())?;
        copy.data_mut().copy_from_slice(&self.data()[first * self.row_len()..][..rows * self.row_len()]);
        Ok(copy)
    }

    /// For slicing.
    pub(crate) fn view(&self) -> ArrayView3<'_, i16> {
        self.0.view()
    }

    pub(crate) fn view_mut(&mut self) -> ndarray::ArrayViewMut3<'_, i16> {
        self.0.view_mut()
    }

    /// The memory, to be used again.
    pub(crate) fn into_data(self) -> Vec<i16> {
        self.0.into_raw_vec_and_offset().0
    }
}
