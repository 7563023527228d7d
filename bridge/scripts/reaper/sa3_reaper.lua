-- What both REAPER scripts do: read selections, run sa3-daw beside REAPER, show progress, insert takes. Knows no prompt.
--
-- Tested against a stand-in of REAPER's API; never run in REAPER itself.

return function(sa3)
    local host = {}
    local IS_WINDOWS = reaper.GetOS():match("^Win") ~= nil
    local WIDTH, HEIGHT = 420, 64
    local START_SECONDS = 20
    local TICKS_PER_QUARTER = 1920
    local BUILD_MISSING_PEAKS = 40047
    local SHORTEST_STEP_SECONDS, MOST_STEPS = 0.25, 100

    function host.tell(text)
        reaper.ShowMessageBox(text, "sa3-daw", 0)
    end

    function host.sample_rate()
        local rate = reaper.GetSetProjectInfo(0, "PROJECT_SRATE", 0, false)
        return rate > 0 and math.floor(rate) or 48000
    end

    --- Ask for texts, one per caption; a list, or nil when the dialog was closed. No text holds the line break.
    function host.ask(title, captions)
        local caption = table.concat(captions, ",") .. ",extrawidth=200,separator=\n"
        local given, answers = reaper.GetUserInputs("sa3-daw: " .. title, #captions, caption, "")
        if not given then return nil end
        local texts = {}
        for text in (answers .. "\n"):gmatch("([^\n]*)\n") do texts[#texts + 1] = text end
        return texts
    end

    --- A seed of its text: nil for an empty one; false, and the user is told, for what is no seed.
    function host.seed(text)
        if text:match("^%s*$") then return nil end
        local seed = text:match("^%s*%d+%s*$") and math.tointeger(tonumber(text))
        if not seed then host.tell("The seed is a whole number of 0 or more, or empty for any.") end
        return seed or false
    end

    --- A guidance of its text, as `seed` does it.
    function host.guidance(text)
        if text:match("^%s*$") then return nil end
        local guidance = tonumber(text)
        if not guidance then host.tell("The guidance is a number, or empty for the model's own.") end
        return guidance or false
    end

    local function metre_at(seconds)
        local numerator, denominator, bpm = reaper.TimeMap_GetTimeSigAtTime(0, seconds)
        return math.floor(numerator), math.floor(denominator), bpm
    end

    --- Tempo and metre at a time, for a request.
    function host.musical_time(request, seconds)
        request.numerator, request.denominator, request.bpm = metre_at(seconds)
        return request
    end

    --- Where tempo or metre change inside [first, last), both ends with them; a slope changes in many small steps.
    local function tempo_edges(first, last)
        local edges, num_markers = { first }, reaper.CountTempoTimeSigMarkers(0)
        local function add(seconds)
            if seconds > edges[#edges] and seconds < last then edges[#edges + 1] = seconds end
        end
        for index = 0, num_markers - 1 do
            local _, from, _, _, _, _, _, is_slope = reaper.GetTempoTimeSigMarker(0, index)
            add(from)
            if is_slope and index + 1 < num_markers then
                local _, to = reaper.GetTempoTimeSigMarker(0, index + 1)
                local start, stop = math.max(from, first), math.min(to, last)
                local step = math.max(SHORTEST_STEP_SECONDS, (last - first) / MOST_STEPS)
                for number = 1, math.ceil((stop - start) / step) - 1 do add(start + number * step) end
            end
        end
        edges[#edges + 1] = last
        return edges
    end

    --- Give a request the song's tempo map over [first, last), where that changes; the range begins at `start_ppq` in it.
    function host.follow_tempo(request, base, first, last, start_ppq)
        local function quarters_at(seconds) return reaper.TimeMap2_timeToQN(0, seconds) end
        local function bpm_between(from, to) return 60 * (quarters_at(to) - quarters_at(from)) / (to - from) end
        local edges = tempo_edges(first, last)
        sa3.give_tempo_map(request, base, sa3.tempo_points(edges, start_ppq, quarters_at, metre_at, bpm_between))
    end

    --- The bar at a time, for --start-bar, and its place in quarters from the first. Bars are REAPER's own, so a downbeat stays one after a change of tempo or metre.
    function host.start_bar(request, seconds)
        local beats, bars, beats_per_bar = reaper.TimeMap2_timeToBeats(0, seconds)
        local ticks_per_bar = TICKS_PER_QUARTER * 4 * request.numerator // request.denominator
        local ticks = sa3.round_half_up((bars + beats / beats_per_bar) * ticks_per_bar)
        return sa3.start_bar(ticks, TICKS_PER_QUARTER, request.numerator, request.denominator),
            math.max(0, ticks) / TICKS_PER_QUARTER
    end

    --- The first razor edit of any track, else the time selection: start, end, track or nil.
    function host.selected_range()
        for index = 0, reaper.CountTracks(0) - 1 do
            local track = reaper.GetTrack(0, index)
            local _, text = reaper.GetSetMediaTrackInfo_String(track, "P_RAZOREDITS", "", false)
            local area = sa3.razor_areas(text)[1]
            if area then return area[1], area[2], track end
        end
        local first, last = reaper.GetSet_LoopTimeRange(false, false, 0, 0, false)
        if last > first then return first, last end
    end

    --- A path without extension in the project's media folder, not used yet.
    function host.new_base()
        local folder = reaper.GetProjectPath("")
        reaper.RecursiveCreateDirectory(folder, 0)
        local stamp = os.date("%Y%m%d-%H%M%S")
        for number = 1, 1000 do
            local base = string.format("%s/sa3-%s-%d", folder, stamp, number)
            if not reaper.file_exists(base .. ".wav") and not reaper.file_exists(base .. ".jsonl") then return base end
        end
    end

    --- Start a shell script without waiting for it. True, or nil and the reason.
    local function execute(script, path)
        if IS_WINDOWS then
            reaper.ExecProcess("cmd.exe /C " .. script, -2)
            return true
        end
        -- A script in a file leaves REAPER one plain word to take apart.
        local file, problem = io.open(path, "wb")
        if not file then return nil, problem end
        file:write(script, "\n")
        file:close()
        reaper.ExecProcess('/bin/sh "' .. path .. '"', -2)
        return true
    end

    local function draw(title, text, share)
        gfx.set(0.12, 0.12, 0.13)
        gfx.rect(0, 0, WIDTH, HEIGHT)
        gfx.set(0.36, 0.62, 0.56)
        gfx.rect(12, 38, (WIDTH - 24) * share, 12)
        gfx.set(0.9, 0.9, 0.9)
        gfx.x, gfx.y = 12, 12
        gfx.drawstr(title .. ": " .. text)
        gfx.update()
    end

    --- Run the words beside REAPER; `done` is called with the written paths. Closing the window or Esc stops the command.
    function host.run(words, base, title, done)
        local files, progress = sa3.job_files(base), sa3.new_progress()
        local started, problem = execute(
            IS_WINDOWS and sa3.windows_script(words, files) or sa3.shell_script(words, files), files.start)
        if not started then return host.tell("The media folder of the project cannot be written: " .. problem) end
        local give_up = reaper.time_precise() + START_SECONDS
        local stop_wanted, stop_sent = false, false

        local function stop()
            if not stop_sent and sa3.read_file(files.pid) then
                stop_sent = true
                execute(sa3.stop_script(files), files.stop)
            end
        end

        local function finish()
            gfx.quit()
            sa3.remove_files(files)
            if progress.state == "done" then
                done(progress.written)
            elseif not stop_wanted then
                host.tell(progress.text)
            end
        end

        local function look()
            progress:look(files)
            if progress.state == "running" and not sa3.read_file(files.log) and reaper.time_precise() > give_up then
                progress.state, progress.text = "failed", "REAPER could not start sa3-daw."
            end
            if progress.state ~= "running" then return finish() end
            local key = gfx.getchar()
            stop_wanted = stop_wanted or not IS_WINDOWS and (key == 27 or key < 0)
            if stop_wanted then stop() end
            if key >= 0 then
                local hint = IS_WINDOWS and "" or "   (Esc stops)"
                draw(title, stop_wanted and "stopping" or progress.text .. hint, progress.share)
            end
            reaper.defer(look)
        end

        -- REAPER may end a script, and itself, before the command has ended.
        reaper.atexit(function() if progress.state == "running" then stop() end end)
        gfx.init(title, WIDTH, HEIGHT)
        look()
    end

    --- Make a change that is one undo point.
    local function as_one_step(name, change)
        reaper.Undo_BeginBlock()
        change()
        reaper.Undo_EndBlock("sa3-daw: " .. name, -1)
        reaper.Main_OnCommand(BUILD_MISSING_PEAKS, 0)
        reaper.UpdateArrange()
    end

    --- Add a file as the item's new active take, playing from `offset` seconds of the file.
    local function add_take(item, path, offset)
        local take = reaper.AddTakeToMediaItem(item)
        reaper.SetMediaItemTake_Source(take, reaper.PCM_Source_CreateFromFile(path))
        reaper.SetMediaItemTakeInfo_Value(take, "D_STARTOFFS", offset)
        reaper.GetSetMediaItemTakeInfo_String(take, "P_NAME", path:match("[^/\\]+$"), true)
        reaper.SetActiveTake(take)
    end

    --- Put files on a track as the takes of one new item, which does not repeat them.
    function host.insert_item(paths, track, first, last)
        if not reaper.ValidatePtr2(0, track, "MediaTrack*") then
            return host.tell("The track has gone; the audio is in " .. paths[1])
        end
        as_one_step("generate", function()
            local item = reaper.AddMediaItemToTrack(track)
            reaper.SetMediaItemInfo_Value(item, "D_POSITION", first)
            reaper.SetMediaItemInfo_Value(item, "D_LENGTH", last - first)
            reaper.SetMediaItemInfo_Value(item, "B_LOOPSRC", 0)
            for _, path in ipairs(paths) do add_take(item, path, 0) end
        end)
    end

    --- Add files, each as long as the take's own, as new takes of the item; wherever it was moved or trimmed to meanwhile.
    function host.add_takes(paths, item, take)
        if not (reaper.ValidatePtr2(0, item, "MediaItem*") and reaper.ValidatePtr2(0, take, "MediaItem_Take*")) then
            return host.tell("The item has gone; the audio is in " .. paths[1])
        end
        local offset = reaper.GetMediaItemTakeInfo_Value(take, "D_STARTOFFS")
        as_one_step("repaint", function()
            for _, path in ipairs(paths) do add_take(item, path, offset) end
        end)
    end

    return host
end
