//! Piecewise cubic interpolation that keeps monotone data monotone: Fritsch and Carlson 1980, slopes by Fritsch and Butland 1984, as in SciPy.

/// A curve through points with increasing x.
pub(super) struct Pchip {
    x: Vec<f64>,
    y: Vec<f64>,
    slope: Vec<f64>,
}

impl Pchip {
    /// `None` for fewer than two points, or unless x increases strictly.
    pub(super) fn new(points: &[(f64, f64)]) -> Option<Self> {
        if points.len() < 2 || !points.windows(2).all(|w| w[0].0 < w[1].0) {
            return None;
        }
        let (x, y): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
        let step: Vec<f64> = x.windows(2).map(|w| w[1] - w[0]).collect();
        let secant: Vec<f64> = y.windows(2).zip(&step).map(|(w, h)| (w[1] - w[0]) / h).collect();
        let n = x.len();
        let mut slope = vec![secant[0]; n];
        if n > 2 {
            for k in 1..n - 1 {
                let (before, after) = (secant[k - 1], secant[k]);
                slope[k] = if before * after > 0.0 {
                    let (w1, w2) = (2.0 * step[k] + step[k - 1], step[k] + 2.0 * step[k - 1]);
                    (w1 + w2) / (w1 / before + w2 / after)
                } else {
                    0.0
                };
            }
            slope[0] = end_slope(step[0], step[1], secant[0], secant[1]);
            slope[n - 1] = end_slope(step[n - 2], step[n - 3], secant[n - 2], secant[n - 3]);
        }
        Some(Self { x, y, slope })
    }

    /// The area under the curve between two x, which must be within the points' range.
    pub(super) fn integral(&self, from: f64, to: f64) -> f64 {
        let mut area = 0.0;
        for (k, w) in self.x.windows(2).enumerate() {
            let (a, b) = (w[0].max(from), w[1].min(to));
            if a < b {
                // Simpson's rule is exact for cubics.
                area += (b - a) / 6.0 * (self.at(k, a) + 4.0 * self.at(k, (a + b) / 2.0) + self.at(k, b));
            }
        }
        area
    }

    /// The value at `x` of the piece that starts at point `k`.
    fn at(&self, k: usize, x: f64) -> f64 {
        let h = self.x[k + 1] - self.x[k];
        let t = (x - self.x[k]) / h;
        let (t2, t3) = (t * t, t * t * t);
        (2.0 * t3 - 3.0 * t2 + 1.0) * self.y[k]
            + (t3 - 2.0 * t2 + t) * h * self.slope[k]
            + (3.0 * t2 - 2.0 * t3) * self.y[k + 1]
            + (t3 - t2) * h * self.slope[k + 1]
    }
}

/// The slope at an end from the two nearest steps and secants.
fn end_slope(h0: f64, h1: f64, d0: f64, d1: f64) -> f64 {
    let slope = ((2.0 * h0 + h1) * d0 - h0 * d1) / (h0 + h1);
    if slope * d0 <= 0.0 {
        0.0
    } else if d0 * d1 <= 0.0 && slope.abs() > 3.0 * d0.abs() {
        3.0 * d0
    } else {
        slope
    }
}
