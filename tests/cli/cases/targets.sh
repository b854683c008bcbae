# The names that are promised are known.
"$mlopt" targets >out || exit
for t in native ml_m4 ml_c4 ml_m5 ml_c5 ml_c6i ml_m7i ml_m7a ml_m8a x86_64 aarch64 riscv64 cortex-m4f cortex-m7 cortex-m55; do
	grep -qE "(^|,)$t[, ]" out || echo "no $t"
done
"$mlopt" targets --verbose | grep -c 'needs' | sed 's/[1-9][0-9]*/some/'
