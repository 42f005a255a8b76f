/* MLX's CPU wheel calls cblas_*gemm of the reference BLAS it carries. The
 * scipy-openblas32 wheel has the same functions, some 26 times faster in
 * float32, under names that begin with scipy_. Preloaded before MLX, this
 * library gives them their usual names. These three are all that MLX calls. */

#include "cblas.h"

#define SHAPE                                                                                     \
  const enum CBLAS_ORDER order, const enum CBLAS_TRANSPOSE trans_a, const enum CBLAS_TRANSPOSE trans_b, \
      const blasint m, const blasint n, const blasint k

#define FORWARD(kind, scalar, array)                                                              \
  void cblas_##kind(SHAPE, scalar alpha, const array *a, const blasint lda, const array *b,       \
                    const blasint ldb, scalar beta, array *c, const blasint ldc) {                \
    scipy_cblas_##kind(order, trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);    \
  }

FORWARD(sgemm, const float, float)
FORWARD(dgemm, const double, double)
FORWARD(cgemm, const void *, void)
