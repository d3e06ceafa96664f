"""Plain nn.Modules. `shape` and `outputs` are given at run time, the rest comes from conf/model/."""
