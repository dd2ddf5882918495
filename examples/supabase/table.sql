-- The batch endpoint is PostgREST's own insert of an array of rows; the table needs a unique id, and policies.
create table progress_events (
  client_event_id text primary key,
  user_id uuid not null default auth.uid(),
  lesson_id text,
  percent int
);
alter table progress_events enable row level security;
create policy own_insert on progress_events for insert to authenticated with check (user_id = auth.uid());
create policy own_select on progress_events for select to authenticated using (user_id = auth.uid());
