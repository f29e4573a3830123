-- What workloads with a forecast wanted, by five minutes, and what had been forecast for them before: the forecast is made of the
-- first and judged by comparing the two. Rows are kept for nine weeks (src/store/retention.ts).
create table spillway.demand_history (
  workload    text not null,
  -- Begin of the five minutes, in UTC.
  bucket      timestamptz not null,
  -- The most that its pending, leased and running tasks wanted at any look; null while it lies ahead, or when nobody looked.
  cpu_milli   bigint check (cpu_milli >= 0),
  memory_mib  bigint check (memory_mib >= 0),
  gpus        bigint check (gpus >= 0),
  -- Written before the five minutes begin and never changed; null = there was no forecast.
  forecast_cpu_milli  bigint check (forecast_cpu_milli >= 0),
  forecast_memory_mib bigint check (forecast_memory_mib >= 0),
  forecast_gpus       bigint check (forecast_gpus >= 0),
  primary key (workload, bucket),
  constraint demand_history_whole check (num_nulls(cpu_milli, memory_mib, gpus) in (0, 3)),
  constraint demand_history_forecast_whole check (num_nulls(forecast_cpu_milli, forecast_memory_mib, forecast_gpus) in (0, 3))
);
