# A changed sign in the work-group kernel.
s/y\[p\] = a \* c - b \* s;/y[p] = a * c + b * s;/
