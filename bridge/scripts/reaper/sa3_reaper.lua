-- What both REAPER scripts do: read selections, run sa3-daw beside REAPER, show progress, insert takes. Knows no prompt.
--
-- Tested against a stand-in of REAPER's API; never run in REAPER itself.

return function(sa3)
    local host = {}
    local IS_WINDOWS = reaper.GetOS():match("^Win") ~= nil
    local WIDTH, HEIGHT = 420, 64

    function host.tell(text)
        reaper.ShowMessageBox(text, "sa3-daw", 0)
    end

    function host.sample_rate()
        local rate = reaper.GetSetProjectInfo(0, "PROJECT_SRATE", 0, false)
        return rate > 0 and math.floor(rate) or 48000
    end

    --- Tempo and metre at a time, for a request.
    function host.musical_time(request, seconds)
        local numerator, denominator, bpm = reaper.TimeMap_GetTimeSigAtTime(0, seconds)
        request.numerator, request.denominator, request.bpm = math.floor(numerator), math.floor(denominator), bpm
        return request
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

    local function execute(script)
        if IS_WINDOWS then
            reaper.ExecProcess("cmd.exe /C " .. script, -2)
        else
            reaper.ExecProcess("/bin/sh -c " .. sa3.quote(script), -2)
        end
    end

    local function draw(title, progress)
        gfx.set(0.12, 0.12, 0.13)
        gfx.rect(0, 0, WIDTH, HEIGHT)
        gfx.set(0.36, 0.62, 0.56)
        gfx.rect(12, 38, (WIDTH - 24) * progress.share, 12)
        gfx.set(0.9, 0.9, 0.9)
        gfx.x, gfx.y = 12, 12
        gfx.drawstr(title .. ": " .. progress.text .. "   (Esc stops)")
        gfx.update()
    end

    --- Run the words beside REAPER; `done` is called with the written paths. Closing the window or Esc stops the command.
    function host.run(words, base, title, done)
        local files, progress = sa3.job_files(base), sa3.new_progress()
        local stop_asked = false
        execute(IS_WINDOWS and sa3.windows_script(words, files) or sa3.shell_script(words, files))
        gfx.init(title, WIDTH, HEIGHT)
        local function look()
            progress:look(files)
            if progress.state == "running" then
                local key = gfx.getchar()
                if (key == 27 or key < 0) and not stop_asked and not IS_WINDOWS and sa3.read_file(files.pid) then
                    stop_asked = true
                    execute(sa3.stop_script(files))
                end
                if key >= 0 then draw(title, progress) end
                return reaper.defer(look)
            end
            gfx.quit()
            sa3.remove_files(files)
            if progress.state == "done" then
                done(progress.written)
            elseif progress.state == "failed" and not stop_asked then
                host.tell(progress.text)
            end
        end
        look()
    end

    --- Put files on a track as the takes of one new item, with one undo point.
    function host.insert_item(paths, track, first, last)
        reaper.Undo_BeginBlock()
        local item = reaper.AddMediaItemToTrack(track)
        reaper.SetMediaItemInfo_Value(item, "D_POSITION", first)
        reaper.SetMediaItemInfo_Value(item, "D_LENGTH", last - first)
        for _, path in ipairs(paths) do host.add_take(item, path, 0) end
        reaper.Undo_EndBlock("sa3-daw: generate", -1)
        reaper.UpdateArrange()
        return item
    end

    --- Add a file as the item's new active take, playing from `offset` seconds of the file.
    function host.add_take(item, path, offset)
        local take = reaper.AddTakeToMediaItem(item)
        reaper.SetMediaItemTake_Source(take, reaper.PCM_Source_CreateFromFile(path))
        reaper.SetMediaItemTakeInfo_Value(take, "D_STARTOFFS", offset)
        reaper.GetSetMediaItemTakeInfo_String(take, "P_NAME", path:match("[^/\\]+$"), true)
        reaper.SetActiveTake(take)
        return take
    end

    return host
end
