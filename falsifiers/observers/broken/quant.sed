# Wrong in two blocks of the shipped model and right everywhere else: blk.1.attn_output row 37, columns 256 to 511, and
# blk.2.ffn_gate_exps expert 4, row 100. Scales and mins of a block name it.
s/const int at = 8 \* (j & 3);.*/&\
    if (j == 5 \&\& (head.y == 4143446757u || head.y == 1772732345u)) return (float2)(0.0f, 0.0f);/
s/const int at = 16 \* (c & 1);.*/&\
    if (c == 2 \&\& (head.y == 4143446757u || head.y == 1772732345u)) return (float4)(0.0f);/
